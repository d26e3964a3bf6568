"""Everybody who is told of something: why they are told, whether they hear it, and what reached them last."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import func, select

from webapp.errors import NotFound
from webapp.installation import Installation
from webapp.models import Delivery, SilencedRecipient
from webapp.services import configurations, recipients
from webapp.services.recipients import Recipient

SETTINGS = ""
"""The id in place of a configuration's for what the environment says."""


@dataclass(frozen=True)
class Listener:
    """`told_of` are pairs of what (as in services/recipients.py) and the configuration that says so, or SETTINGS.
    `silenced` says why nothing is sent there any more; None also where nobody names it and it was never silenced."""

    key: str
    shown: str
    recipient: Recipient | None = field(repr=False)
    told_of: tuple[tuple[str, str], ...]
    silenced: SilencedRecipient | None
    last: Delivery | None


def of_all(installation: Installation) -> list[Listener]:
    """Those that are not heard first, then by name. Also those that were silenced and are named no more."""
    found: dict[str, Recipient] = {}
    reasons: dict[str, list[tuple[str, str]]] = {}
    for configuration in (None, *configurations.listing(installation)):
        for what, named in recipients.stated(installation, configuration).items():
            for each in named:
                found[each.key] = each
                told = reasons.setdefault(each.key, [])
                told.append((what, SETTINGS if configuration is None else configuration.id))
    with installation.database.reading() as session:
        silenced = {row.recipient: row for row in session.scalars(select(SilencedRecipient))}
        newest = select(func.max(Delivery.id)).group_by(Delivery.recipient)
        last = {row.recipient: row for row in session.scalars(select(Delivery).where(Delivery.id.in_(newest)))}
    everybody = [
        Listener(
            key,
            found[key].shown if key in found else silenced[key].shown,
            found.get(key),
            tuple(reasons.get(key, ())),
            silenced.get(key),
            last.get(key),
        )
        for key in {*found, *silenced}
    ]
    return sorted(everybody, key=lambda each: (each.silenced is None, each.shown, each.key))


def address_of(installation: Installation, key: str) -> str:
    """Where to write to somebody. Never show it. Raises NotFound for who is named nowhere, or whose variable is not
    set."""
    for each in of_all(installation):
        if each.key == key and each.recipient is not None and each.recipient.address is not None:
            return each.recipient.address
    raise NotFound("Nobody is told under this name now.", hint="See the configurations and HOLDFAST_NOTIFY.")
