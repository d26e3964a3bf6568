"""Signing in, passwords, the second factor."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, Length

_TEXT = [InputRequired("Please fill this in."), Length(max=256, message="At most 256 characters.")]


class SignIn(FlaskForm):  # type: ignore[misc]
    """Name and password; `next` is where to go then."""

    name = StringField("Name", validators=_TEXT)
    password = PasswordField("Password", validators=_TEXT)
    next = HiddenField()


class Code(FlaskForm):  # type: ignore[misc]
    """A code of the authenticator app, or a recovery code."""

    code = StringField("Code", validators=_TEXT)


class Password(FlaskForm):  # type: ignore[misc]
    """A new password."""

    present = PasswordField("Present password", validators=_TEXT)
    new = PasswordField("New password", validators=_TEXT)
    again = PasswordField(
        "New password again", validators=[*_TEXT, EqualTo("new", message="The two new passwords differ.")]
    )
