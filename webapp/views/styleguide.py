"""Every component of the pages in both themes, for those who build them. It is there in development only."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from flask import Blueprint, abort, render_template
from flask_wtf import FlaskForm
from wtforms import BooleanField, PasswordField, StringField
from wtforms.validators import InputRequired

from webapp.extensions import installation
from webapp.security import needs
from webapp.services.activity import DAYS, Day
from webapp.views.charts import bars

pages = Blueprint("styleguide", __name__)
_FIRST = date(2026, 11, 1)
_MOMENT = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
WORDS = {
    "Backups": ("protected", "at risk", "not protected", "switched off"),
    "Runs": ("queued", "running", "succeeded", "warning", "failed", "interrupted", "cancelled"),
    "Copies": ("present", "missed", "damaged", "lost", "removed", "in the trash"),
}


class Sample(FlaskForm):  # type: ignore[misc]
    """Fields with and without a fault."""

    name = StringField("Name", validators=[InputRequired("Please fill this in.")])
    secret = PasswordField("Secret")
    sure = BooleanField("Check it afterwards")


@pages.get("/styleguide")
@needs("overview.read")
def index() -> str:
    """All of them."""
    if not installation().settings.is_development:
        abort(404)
    days = [Day(_FIRST + timedelta(days=number), *_outcome(number)) for number in range(DAYS)]
    faulty = Sample(prefix="faulty", meta={"csrf": False})
    faulty.validate()
    return render_template(
        "styleguide.html",
        themes=("light", "dark"),
        words=WORDS,
        days=days,
        chart=bars(days),
        forms={theme: Sample(prefix=theme, meta={"csrf": False}) for theme in ("light", "dark")},
        faulty=faulty,
        moment=_MOMENT,
    )


def _outcome(number: int) -> tuple[int, int, int]:
    """Good, with warnings, failed: some of each."""
    return (0, 0, 0) if number % 11 == 4 else (4, int(number % 7 == 3), int(number % 9 == 8))
