"""A test message to somebody who may not be told of anything yet."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import InputRequired, Length


class Test(FlaskForm):  # type: ignore[misc]
    """An e-mail address or an Apprise URL."""

    recipient = StringField(
        "E-mail address or Apprise URL",
        validators=[InputRequired("Please fill this in."), Length(max=4096, message="At most 4096 characters.")],
    )

    def forget(self) -> None:
        """A URL is mostly secrets: it does not go into a page again. An address stays as typed."""
        if "://" in (self.recipient.data or ""):
            self.recipient.data = ""
