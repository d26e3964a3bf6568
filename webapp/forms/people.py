"""Accounts and tokens."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import DateField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional

from webapp.forms.days import in_reach
from webapp.roles import ROLES

_NEEDED = InputRequired("Please fill this in.")


class NewUser(FlaskForm):  # type: ignore[misc]
    """Who shall come in."""

    name = StringField("Name", validators=[_NEEDED, Length(max=64, message="At most 64 characters.")])
    role = SelectField("Role", choices=list(ROLES))


class Role(FlaskForm):  # type: ignore[misc]
    """What somebody may do from now on."""

    role = SelectField("Role", choices=list(ROLES))


class Typed(FlaskForm):  # type: ignore[misc]
    """The name of what shall be done something to that cannot be taken back."""

    typed = StringField("Name", validators=[_NEEDED, Length(max=200, message="At most 200 characters.")])


class NewToken(FlaskForm):  # type: ignore[misc]
    """What a program may do, until when, and from where."""

    name = StringField("Name", validators=[_NEEDED, Length(max=200, message="At most 200 characters.")])
    scope = SelectField("Scope")
    last_day = DateField("Last day", validators=[Optional(), in_reach])
    networks = TextAreaField("Networks", validators=[Length(max=4096, message="At most 4096 characters.")])

    def wanted_networks(self) -> tuple[str, ...]:
        """One a line, or with commas between."""
        return tuple((self.networks.data or "").replace(",", " ").split())
