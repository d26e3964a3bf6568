"""What shall be restored, and where to."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import BooleanField, RadioField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import Length, ValidationError

_PATH, _MANY, _PARTS = 4096, 65536, 1000
GENERATED, NAMED = "new", "named"


class What(FlaskForm):  # type: ignore[misc]
    """`parts` are folders, files, databases and tables as `quoted` wrote them; none and no `only` means all of it."""

    parts = SelectMultipleField("Parts", validate_choice=False)
    only = TextAreaField("Only these", validators=[Length(max=_MANY, message="At most 64 KiB.")])

    def validate_parts(self, field: SelectMultipleField) -> None:
        """A restore takes so many parts; whole folders say the same with fewer."""
        if len(field.data or ()) > _PARTS:
            raise ValidationError("At most 1,000 parts. Choose their folder.")

    def lines(self) -> list[str]:
        """What was typed, one a line."""
        return [line for line in map(str.strip, (self.only.data or "").splitlines()) if line]


class Target(FlaskForm):  # type: ignore[misc]
    """New places with generated names, or new places that are named here."""

    where = RadioField("Where to", choices=[GENERATED, NAMED], default=GENERATED)
    folder = StringField("New folder", validators=[Length(max=_PATH, message="At most 4096 characters.")])
    server = StringField("New database", validators=[Length(max=_PATH, message="At most 4096 characters.")])
    verify = BooleanField("Compare names and attributes with the restore point afterwards")

    def targets(self) -> list[str]:
        """Where to, as `--to` takes it; none for generated names."""
        if self.where.data != NAMED:
            return []
        return [text.strip() for text in (self.folder.data, self.server.data) if text and text.strip()]

    def validate_where(self, field: RadioField) -> None:
        """Who chooses to name a place has to name one."""
        if field.data == NAMED and not self.targets():
            raise ValidationError("Name a folder or a database, or choose generated names.")
