"""The start page: is everything protected, and what must be done?"""

from __future__ import annotations

from flask import Blueprint, render_template

from webapp.extensions import installation
from webapp.security import needs
from webapp.services import activity, protection
from webapp.views.charts import bars

pages = Blueprint("overview", __name__)


@pages.get("/")
@needs("overview.read")
def index() -> str:
    """The verdict, what needs attention, five numbers, what is running, every backup, backups per day."""
    own = installation()
    found = protection.of_all(own)
    days = activity.days(own)
    return render_template(
        "dashboard/overview.html",
        found=found,
        counts=protection.counts(found),
        days=days,
        chart=bars(days[""]),
        added=activity.added(own),
        active=activity.active(own),
        rate=activity.success_rate(days[""]),
        restored=activity.last_restore(own),
        now=own.clock(),
    )
