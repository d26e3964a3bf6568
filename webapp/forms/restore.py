"""What shall be restored, and where to."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import BooleanField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import Length

_PATH, _MANY = 4096, 65536


class Restore(FlaskForm):  # type: ignore[misc]
    """`parts` are folders and databases of the restore point; none and no `only` means all of it."""

    parts = SelectMultipleField("Parts", validate_choice=False)
    only = TextAreaField("Only these", validators=[Length(max=_MANY, message="At most 64 KiB.")])
    folder = StringField("New folder", validators=[Length(max=_PATH, message="At most 4096 characters.")])
    server = StringField("New database", validators=[Length(max=_PATH, message="At most 4096 characters.")])
    verify = BooleanField("Compare names and attributes with the restore point afterwards")

    def targets(self) -> list[str]:
        """Where to, as `--to` takes it."""
        return [text.strip() for text in (self.folder.data, self.server.data) if text and text.strip()]

    def wanted(self) -> list[str]:
        """What, as `--only` takes it."""
        lines = [line.strip() for line in (self.only.data or "").splitlines()]
        return [*(self.parts.data or ()), *filter(None, lines)]
