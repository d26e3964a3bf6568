"""The service says to a watchdog outside that it lives: when the scheduler is dead, nobody inside can tell."""

from __future__ import annotations

from webapp.installation import Installation
from webapp.notify import ping
from webapp.notify.message import NotSent


def send(installation: Installation) -> str:
    """One heartbeat of the service, within some seconds; why it failed, or "". Called at the end of each tick."""
    rules = installation.settings.notify
    if rules.heartbeat_url is None:
        return ""
    try:
        ping.send(rules.heartbeat_url, allow_private=rules.allow_private)
    except NotSent as error:
        return error.reason
    return ""
