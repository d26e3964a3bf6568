"""Messages stay out of private networks: whatever the address is wrapped in, whenever a name changes its mind."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.support.post import receiver
from webapp import notify_rules as rules
from webapp.notify import channels, guard, ping
from webapp.notify.message import GOOD, Message, NotSent

MESSAGE = Message(GOOD, "Subject", "Headline")
PRIVATE = (
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 ::1 :: "
    "fe80::1 fe80::1%eth0 fd00::1 ff02::1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::a00:1 2002:a00:1:: nonsense"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_what_is_not_public(address: str) -> None:
    assert not guard.is_public(address)


@pytest.mark.parametrize("address", "93.184.215.14 2606:2800:21f:cb07::1 ::ffff:93.184.215.14 64:ff9b::808:808".split())
def test_what_is_public(address: str) -> None:
    assert guard.is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"])
def test_no_spelling_leads_inside(host: str) -> None:
    with receiver() as hook:
        port = hook.url.rpartition(":")[2]
        with pytest.raises(NotSent):
            channels.send(f"json://{host}:{port}/x", MESSAGE, allow_private=False)
        with pytest.raises(NotSent, match="private network"):
            ping.send(f"http://{host}:{port}/x", allow_private=False)
        assert hook.requests == []


def test_the_address_counts_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is looked at first, and private from then on."""
    with receiver() as hook:
        port = int(hook.url.rpartition(":")[2])
        answers = iter(["93.184.215.14", *["127.0.0.1"] * 20])

        def rebinding(host: Any, *arguments: Any, **options: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

        monkeypatch.setattr(guard, "_plain_getaddrinfo", rebinding)
        with guard.public_only():
            assert socket.getaddrinfo("rebind.example", port)[0][4][0] == "93.184.215.14"
        with pytest.raises(NotSent, match="private network"):
            ping.send(f"http://rebind.example:{port}/x", allow_private=False)
        assert hook.requests == []


def test_others_are_left_alone() -> None:
    with guard.public_only():
        pass
    assert socket.getaddrinfo("127.0.0.1", 80)[0][4][0] == "127.0.0.1"


@pytest.mark.parametrize(
    "url", ["syslog://", "dbus://", "file://etc/passwd", "mqtt://broker/topic", "rsyslog://10.0.0.1"]
)
def test_channels_that_act_here_or_out_of_sight_are_refused(url: str) -> None:
    with pytest.raises(NotSent) as caught:
        channels.send(url, MESSAGE, allow_private=False)
    assert caught.value.permanent


def test_redirects_are_not_followed() -> None:
    with receiver() as hook, receiver() as inside:
        hook.status, hook.location = 307, f"{inside.url}/metadata"
        with pytest.raises(NotSent):
            channels.send(hook.url.replace("http", "json") + "/x", MESSAGE, allow_private=True)
        assert (len(hook.requests), inside.requests) == (1, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLDFAST_NOTIFY", "ops@example.com, nonsense"),
        ("HOLDFAST_NOTIFY", "file:///etc/passwd"),
        ("HOLDFAST_NOTIFY_PRIVATE", "perhaps"),
        ("HOLDFAST_REMIND_HOURS", "-1"),
        ("HOLDFAST_HEARTBEAT_URL", "ftp://x"),
    ],
)
def test_wrong_settings_are_named_without_their_value(name: str, value: str) -> None:
    _, faults = rules.read({name: value})
    assert list(faults) == [name]
    assert value not in faults[name]
