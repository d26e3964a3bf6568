"""The filters of the audit log, as they stand in the address."""

from __future__ import annotations

from typing import ClassVar

from flask_wtf import FlaskForm
from wtforms import DateField, SelectField, StringField
from wtforms.validators import Length, Optional

from webapp.forms.days import in_reach
from webapp.models.run import CANCELLED, INTERRUPTED, SUCCEEDED, WARNING
from webapp.services.audit import DENIED, DONE, FAILED

# Those of a change, and those of a run.
_OUTCOMES = (DONE, DENIED, FAILED, SUCCEEDED, WARNING, CANCELLED, INTERRUPTED)
_TEXT = [Length(max=200, message="At most 200 characters.")]


class Filters(FlaskForm):  # type: ignore[misc]
    """Nothing is changed by them, so they need no form token and can be linked to."""

    class Meta:
        csrf = False

    NAMES: ClassVar = ("who", "action", "object", "outcome", "first", "last")

    who = StringField("Who", validators=_TEXT)
    action = StringField("Action", validators=_TEXT)
    object = StringField("Object", validators=_TEXT)
    outcome = SelectField("Outcome", choices={"": "all", **{each: each for each in _OUTCOMES}}, default="")
    first = DateField("From", validators=[Optional(), in_reach])
    last = DateField("To", validators=[Optional(), in_reach])

    def typed(self) -> dict[str, str]:
        """What is set, for addresses."""
        return {name: str(self[name].data).strip() for name in self.NAMES if self[name].data}
