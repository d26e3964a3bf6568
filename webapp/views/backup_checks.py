"""Would a run of this configuration work? Each source and destination is tried, step by step; nothing is backed up."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from webapp.errors import ConfigurationInvalid, NotBuilt
from webapp.extensions import installation
from webapp.security import needs
from webapp.services import configurations, trials
from webapp.services.repositories import silent

pages = Blueprint("checks", __name__)


@pages.route("/<config_id>/test", methods=["GET", "POST"])
@needs("configurations.test")
def trial(config_id: str) -> tuple[str, int]:
    """The answer to a POST, for a test writes to the destinations, and deletes that again."""
    own = installation()
    configuration = configurations.find(own, config_id)
    found, fault = None, ""
    if request.method == "POST":
        try:
            found = trials.trial(own, config_id, cwd=own.settings.home, tell=silent)
        except (ConfigurationInvalid, NotBuilt) as error:
            fault = str(error)
    page = render_template("backups/test.html", configuration=configuration, found=found, fault=fault)
    return page, 422 if fault else 200
