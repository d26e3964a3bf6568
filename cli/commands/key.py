"""`key`: the encryption key of this installation."""

from __future__ import annotations

from pathlib import Path

import click

from cli import exits, output
from cli.commands.attach import FROM_STDIN, secret
from cli.options import json_option, pass_door
from cli.state import Door


@click.group()
def command() -> None:
    """The encryption key of this installation."""


@command.command()
@json_option
@pass_door
def generate(door: Door) -> None:
    """Print a new random key, for BACKUP_ENCRYPTION_KEY. Nothing is stored or changed."""
    from webapp.keyfile import generate_key

    key = generate_key().hex()
    if door.json:
        output.document(door, {"key": key})
    else:
        output.line(key)
    door.tell("Keep this key safe: whoever has it can read the backups, and without it nobody can.")


@command.command()
@json_option
@pass_door
def slots(door: Door) -> int:
    """What opens the backups, and where copies of it lie."""
    from webapp.services import keys

    found, failures = keys.slots(door.installation)
    if door.json:
        rows = [
            {"slot": each.slot, "kind": each.kind, "places": list(each.places), "old": each.is_old} for each in found
        ]
        output.document(door, rows)
    elif not found:
        door.tell("There are no keys yet. `backup-cli create` makes them with the first backup.")
    else:
        table = [[each.slot, each.kind + (" (old)" if each.is_old else ""), ", ".join(each.places)] for each in found]
        output.table(["SLOT", "KIND", "PLACES"], table)
    for name, reason in failures.items():
        door.tell(f"Warning: {name} could not be asked: {reason}")
    return exits.WARNINGS if failures else exits.DONE


@command.command()
@click.option(
    "--new-key-file", metavar="FILE", help="The new encryption key; - to type it. Else BACKUP_ENCRYPTION_KEY_NEW."
)
@click.option("--recovery-code", "code_only", is_flag=True, help="Change nothing but the recovery code.")
@click.option("--keep-code", is_flag=True, help="Keep the recovery code: it is typed, or read from a pipe.")
@json_option
@pass_door
def rotate(door: Door, new_key_file: str | None, code_only: bool, keep_code: bool) -> int:
    """Seal what comes with new keys, under a new recovery code and, if one is given, a new encryption key."""
    from webapp.services import keyrings, keys

    new_key = _new_key(door, new_key_file)
    if code_only and (keep_code or new_key is not None):
        raise click.UsageError("--recovery-code changes the recovery code alone: give it alone.")
    if code_only:
        door.tell(keyrings.recovery_text(keys.replace_code(door.installation, tell=door.tell)))
        _audit(door, "key.code_changed")
        waiting = keys.settle(door.installation)
        document: dict[str, object] = {"waiting": waiting}
    else:
        kept = secret(FROM_STDIN, "Recovery code") if keep_code else None
        change = keys.rotate(door.installation, new_key=new_key, kept_code=kept, tell=door.tell)
        _audit(door, "key.rotated")
        waiting = change.waiting
        document = {"epoch": change.epoch, "waiting": waiting}
    if door.json:
        output.document(door, document)
    else:
        output.line("The recovery code was changed." if code_only else f"The keys were changed (epoch {change.epoch}).")
    _tell_waiting(door, waiting)
    return exits.WARNINGS if waiting else exits.DONE


@command.command()
@click.option("--format", "format_", type=click.Choice(["text", "html"]), help="Else text, or as FILE is named.")
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), metavar="FILE", help="A new file, mode 0600.")
@click.option("--keep-code", is_flag=True, help="With the present recovery code: it is typed, or read from a pipe.")
@click.option("--confirm", is_flag=True, help="Make no kit: type the code back from the one that was printed.")
@pass_door
def kit(door: Door, format_: str | None, path: Path | None, keep_code: bool, confirm: bool) -> int:
    """The recovery kit, a page to print, with a new recovery code."""
    from webapp.services import keyrings, keys
    from webapp.services import kit as kits

    if confirm and (format_ or path or keep_code):
        raise click.UsageError("--confirm makes no kit: give it alone.")
    typed = secret(FROM_STDIN, "Recovery code") if confirm or keep_code else None
    if confirm:
        keyrings.confirm_code(door.settings, typed or "")
        door.tell("The recovery code is right.")
        return exits.DONE
    path = None if path == Path("-") else path
    if path is not None:
        kits.require_new(path)
    made = kits.make(door.installation, present_code=typed, tell=door.tell)
    _audit(door, "key.kit_made")
    page = kits.render(made, format_ or ("html" if path is not None and path.suffix == ".html" else "text"))
    if path is None:
        output.line(page.rstrip("\n"))
    else:
        kits.write(path, page)
        door.tell(f"{path} was written. Print it, delete the file, and put the page away from this machine.")
    if typed is None:
        door.tell("Earlier recovery codes stop working. `backup-cli key kit --confirm` checks that the page is right.")
    waiting = keys.settle(door.installation)
    _tell_waiting(door, waiting)
    return exits.WARNINGS if waiting else exits.DONE


def _audit(door: Door, action: str) -> None:
    from webapp.services import audit
    from webapp.services.access import local_actor

    audit.add(door.installation, local_actor(door.identity), action, "keyring")


def _new_key(door: Door, file: str | None) -> bytes | None:
    from webapp.keyfile import parse_key, read_key_file

    if file == FROM_STDIN:
        return parse_key(secret(file, "New encryption key") or "")
    if file is not None:
        return read_key_file(door.cwd / file)
    given = door.settings.environment.get("BACKUP_ENCRYPTION_KEY_NEW")
    return parse_key(given) if given else None


def _tell_waiting(door: Door, waiting: dict[str, str]) -> None:
    for name, reason in waiting.items():
        door.tell(f"Warning: the change is not finished at {name}: {reason}")
    if waiting:
        door.tell("Until it is, the old keys open everything there as well. The next backup tries again.")
