"""Notifications: a test message, and what became of those that were sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from webapp.api.endpoint import Answer, Call, Routes
from webapp.api.schemas import COUNT, TEXT, TIME, Page, or_null, page, page_of, read_cursor, record
from webapp.notify import channels
from webapp.schema.fields import Model, Plain
from webapp.services import audit, history, notifications

ROUTES = Routes()
_DELIVERY = record(
    kind=TEXT,
    configId=or_null(TEXT),
    recipient=TEXT,
    state={"type": "string", "enum": ["waiting", "sent", "given-up"]},
    tries=COUNT,
    createdAt=TIME,
    dueAt=TIME,
    sentAt=or_null(TIME),
    error=or_null(TEXT),
)


class Test(Model):
    """An e-mail address or an Apprise URL."""

    recipient: Plain


class Which(Page):
    """Of which configuration."""

    config_id: Annotated[str, StringConstraints(max_length=64)] | None = None


@ROUTES.add(
    "POST",
    "/notifications/test",
    permission="notifications.test",
    body=Test,
    answer=record(recipient=TEXT, result=TEXT),
    errors=(503,),
)
def test_notification(call: Call) -> Answer:
    """Sends a test message now; a recipient that was given up is heard again when it arrives."""
    recipient = call.body.recipient
    shown = channels.shown(recipient)
    notifications.send_test(call.installation, recipient)
    audit.add(call.installation, call.actor, "notification.tested", shown)
    return Answer({"recipient": shown, "result": "sent"})


@ROUTES.add("GET", "/notifications", permission="overview.read", query=Which, answer=page_of(_DELIVERY))
def list_deliveries(call: Call) -> Answer:
    """What was sent to whom, what waits, and why something did not arrive; newest first."""
    asked = call.query
    wanted = history.Wanted(asked.config_id, before=read_cursor(asked.cursor), limit=asked.limit)
    found = page(history.deliveries(call.installation, wanted), asked.limit, lambda row: row.id)
    items = [
        {
            "kind": row.kind,
            "configId": row.config_id,
            "recipient": row.shown,
            "state": row.state,
            "tries": row.tries,
            "createdAt": row.created_at,
            "dueAt": row.due_at,
            "sentAt": row.sent_at,
            "error": row.error,
        }
        for row in found["items"]
    ]
    return Answer({**found, "items": items})
