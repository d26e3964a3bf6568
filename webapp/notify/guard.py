"""Keeps messages and pings out of private networks: every address is looked at when it is connected to.

A look beforehand is not enough: a name may mean another address a moment later, and an answer may lead elsewhere.
"""

from __future__ import annotations

import contextlib
import contextvars
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

_on = contextvars.ContextVar("holdfast_guarded", default=False)
_plain_getaddrinfo = socket.getaddrinfo
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(OSError):
    """The address is not one of the public internet."""


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet, also when it is wrapped into an IPv6 one."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast


@contextlib.contextmanager
def public_only(*, enabled: bool = True) -> Iterator[None]:
    """Inside of it, this thread resolves only names whose addresses are all public. Raises Refused (an OSError)."""
    if socket.getaddrinfo is not _guarded:
        socket.getaddrinfo = _guarded
    token = _on.set(enabled)
    try:
        yield
    finally:
        _on.reset(token)


def _guarded(host: Any, *arguments: Any, **options: Any) -> Any:
    found = _plain_getaddrinfo(host, *arguments, **options)
    if _on.get() and not all(is_public(str(answer[4][0])) for answer in found):
        raise Refused("The address is in a private network; HOLDFAST_NOTIFY_PRIVATE=yes allows that.")
    return found
