"""`user`: the accounts of the web application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.options import confirm, json_option, pass_door
from cli.state import Door

if TYPE_CHECKING:
    from webapp.models import User
    from webapp.services.access import Actor

_ROLES = ("manager", "admin", "super_admin")


@click.group()
def command() -> None:
    """Accounts."""


@command.command("list")
@json_option
@pass_door
def list_(door: Door) -> None:
    """All accounts."""
    from webapp.services import accounts

    found = accounts.listing(door.installation)
    if door.json:
        output.document(door, [_document(user) for user in found])
        return
    if not found:
        door.tell("There is no account yet. The first start of the service makes one.")
    rows = [
        [
            user.name,
            user.role,
            "yes" if user.is_enabled else "no",
            "yes" if user.has_second_factor else "no",
            output.when(user.signed_in_at, door.settings.timezone),
        ]
        for user in found
    ]
    output.table(["NAME", "ROLE", "ENABLED", "SECOND FACTOR", "SIGNED IN"], rows)


@command.command()
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="manager", show_default=True)
@json_option
@pass_door
def add(door: Door, name: str, role: str) -> None:
    """A new account; its one-time password is printed once."""
    from webapp.services import accounts

    made = accounts.add(door.installation, _actor(door), name, role)
    _print_password(door, made.user, made.password)


@command.command()
@click.argument("name")
@click.option("--confirm", "typed", metavar="NAME", help="The name once more; without a terminal this is needed.")
@json_option
@pass_door
def password(door: Door, name: str, typed: str | None) -> None:
    """A one-time password for somebody who lost theirs; sessions and second factor end."""
    from webapp.services import accounts

    user = accounts.find(door.installation, name)
    confirm(f"The password, sessions and second factor of {user.name} will end.", typed=typed, wanted=user.name)
    made = accounts.reset_password(door.installation, _actor(door), name)
    _print_password(door, made.user, made.password)


@command.command()
@click.argument("name")
@click.argument("role", type=click.Choice(_ROLES))
@json_option
@pass_door
def role(door: Door, name: str, role: str) -> None:
    """Give an account another role."""
    from webapp.services import accounts

    _print(door, accounts.set_role(door.installation, _actor(door), name, role))


@command.command()
@click.argument("name")
@json_option
@pass_door
def disable(door: Door, name: str) -> None:
    """Let somebody in no more; sessions and tokens end."""
    from webapp.services import accounts

    _print(door, accounts.disable(door.installation, _actor(door), name))


@command.command()
@click.argument("name")
@json_option
@pass_door
def enable(door: Door, name: str) -> None:
    """Let somebody in again."""
    from webapp.services import accounts

    _print(door, accounts.enable(door.installation, _actor(door), name))


def _actor(door: Door) -> Actor:
    from webapp.services.access import local_actor

    return local_actor(door.identity)


def _print(door: Door, user: User) -> None:
    if door.json:
        output.document(door, _document(user))
    else:
        output.line(f"{user.name}: {user.role}, {'enabled' if user.is_enabled else 'disabled'}")


def _print_password(door: Door, user: User, secret: str) -> None:
    if door.json:
        output.document(door, {**_document(user), "oneTimePassword": secret})
        return
    door.tell(f"The one-time password of {user.name} ({user.role}); it must be changed at first sign-in:")
    output.line(secret)


def _document(user: User) -> dict[str, Any]:
    return {
        "id": user.public_id,
        "name": user.name,
        "role": user.role,
        "enabled": user.is_enabled,
        "secondFactor": user.has_second_factor,
        "createdAt": user.created_at,
        "signedInAt": user.signed_in_at,
    }
