"""`token`: what programs use the API with."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.options import Age, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.models import ApiToken

_SCOPES = ("read", "run", "admin", "super_admin")


@click.group()
def command() -> None:
    """API tokens."""


@command.command("list")
@json_option
@pass_door
def list_(door: Door) -> None:
    """All tokens that are not revoked."""
    from webapp.services import tokens

    found = tokens.listing(door.installation)
    if door.json:
        output.document(door, [_document(token) for token in found])
        return
    zone = door.settings.timezone
    rows = [
        [
            token.public_id,
            token.user.name,
            token.name,
            f"{token.prefix}…",
            token.scope,
            output.when(token.expires_at, zone),
            output.when(token.used_at, zone),
        ]
        for token in found
    ]
    output.table(["ID", "USER", "NAME", "BEGINS", "SCOPE", "ENDS", "USED"], rows)


@command.command()
@click.argument("name")
@click.option("--user", "owner", required=True, metavar="NAME", help="Whom it acts for.")
@click.option("--scope", type=click.Choice(_SCOPES), default="read", show_default=True)
@click.option("--expires", type=Age(), metavar="SPAN", help="After so long (such as 90d) it ends.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="From here only; may be given repeatedly.")
@json_option
@pass_door
def create(door: Door, name: str, owner: str, scope: str, expires: timedelta | None, networks: tuple[str, ...]) -> None:
    """A new token, printed once."""
    from webapp.services import accounts, tokens
    from webapp.services.access import local_actor

    installation = door.installation
    ends = None if expires is None else installation.clock() + expires
    wish = tokens.Wish(name, scope, ends, networks)
    made = tokens.create(installation, local_actor(door.identity), accounts.find(installation, owner), wish)
    if door.json:
        output.document(door, {**_document(made.token), "secret": made.secret})
        return
    door.tell("It is not shown again:")
    output.line(made.secret)


@command.command()
@click.argument("token")
@json_option
@pass_door
def revoke(door: Door, token: str) -> None:
    """End a token at once."""
    from webapp.services import tokens
    from webapp.services.access import local_actor

    ended = tokens.revoke(door.installation, local_actor(door.identity), token)
    if door.json:
        output.document(door, {"id": ended.public_id, "result": "revoked"})
    else:
        output.line(f"{ended.public_id}: revoked")


def _document(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.public_id,
        "user": token.user.name,
        "name": token.name,
        "prefix": token.prefix,
        "scope": token.scope,
        "networks": list(token.networks),
        "createdAt": token.created_at,
        "expiresAt": token.expires_at,
        "usedAt": token.used_at,
    }
