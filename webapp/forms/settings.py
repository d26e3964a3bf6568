"""What the settings page asks for: an address for a test mail, the password before a kit, the recovery code."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, StringField
from wtforms.validators import InputRequired, Length

_TEXT = [InputRequired("Please fill this in."), Length(max=256, message="At most 256 characters.")]


class Mail(FlaskForm):  # type: ignore[misc]
    """Whom to write to."""

    address = StringField("E-mail address", validators=_TEXT)


class Kit(FlaskForm):  # type: ignore[misc]
    """Whoever has the page can read every backup: a browser that was left alone must not be enough to make one."""

    password = PasswordField("Your password", validators=_TEXT)
    format = SelectField("Format", choices={"html": "HTML, to print", "text": "Text"})


class Code(FlaskForm):  # type: ignore[misc]
    """The recovery code, as it stands on the page."""

    code = StringField("Recovery code", validators=_TEXT)
