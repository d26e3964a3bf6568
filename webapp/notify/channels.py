"""Channels by Apprise URL (Slack, Discord, webhooks …). The URL is mostly secrets: it is never logged or repeated."""

from __future__ import annotations

import logging
import warnings
from urllib.parse import urlsplit

from webapp.notify import guard
from webapp.notify.message import BAD, GOOD, Message, NotSent

# They act on this machine, whoever may write a configuration.
LOCAL = frozenset("dbus file glib gnome kde macosx qt syslog windows".split())
# They resolve names out of our sight, so the guard cannot look.
UNSEEN = frozenset("aprs mqtt mqtts rsyslog xmpp xmpps".split())


def shown(url: str) -> str:
    """What people may see of a recipient: an e-mail address, or the kind of a channel."""
    return f"{url.partition('://')[0]}://…" if "://" in url else url


def send(url: str, message: Message, *, allow_private: bool) -> None:
    """Sends to one channel. Raises NotSent."""
    scheme = urlsplit(url).scheme.lower()
    if scheme in LOCAL:
        raise NotSent(f"{scheme}:// acts on this machine and is not allowed.", permanent=True)
    if scheme in UNSEEN and not allow_private:
        raise NotSent(f"{scheme}:// needs HOLDFAST_NOTIFY_PRIVATE=yes.", permanent=True)
    # Their debug lines hold URLs with the tokens in them.
    logging.getLogger("apprise").disabled = True
    logging.getLogger("urllib3.connectionpool").setLevel(logging.WARNING)
    with warnings.catch_warnings():  # it imports modules that Python will drop
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import Apprise, AppriseAsset, NotifyType

        asset = AppriseAsset(storage_mode="memory", async_mode=False, http_redirects=False, app_id="Holdfast")
        channel = Apprise.instantiate(url, asset=asset)
    if channel is None:
        raise NotSent(f"This {scheme}:// URL is not one that Apprise understands.", permanent=True)
    kind = {GOOD: NotifyType.SUCCESS, BAD: NotifyType.FAILURE}.get(message.tone, NotifyType.WARNING)
    with guard.public_only(enabled=not allow_private):
        try:
            arrived = channel.notify(body=message.text(), title=message.subject, notify_type=kind)
        except Exception as error:  # noqa: BLE001 (of some hundred plugins, each with errors of its own)
            raise NotSent(f"{scheme}:// failed ({type(error).__name__}).") from None
    if not arrived:
        raise NotSent(f"{scheme}:// was not reached, or did not accept the message.")
