"""`doctor`: looks for what is wrong with this installation."""

from __future__ import annotations

import click

from cli import exits, output
from cli.options import json_option, pass_door
from cli.state import Door

CODES = {"ok": exits.DONE, "warning": exits.WARNINGS, "error": exits.FAILED}


@click.command("doctor")
@json_option
@pass_door
def command(door: Door) -> int:
    """Look for what is wrong with this installation, and say what to do.

    Exit codes: 0 when all is well, 3 with warnings, 1 with errors. Nothing is mended.
    """
    from webapp.errors import SettingsInvalid
    from webapp.services import doctor

    try:
        settings = door.settings
    except SettingsInvalid as error:
        findings = doctor.refused(error)
    else:
        findings = doctor.examine(settings, opened=lambda: door.installation, cwd=door.cwd)
    status = doctor.worst(findings)
    if door.json:
        checks = [
            {"check": each.check, "status": each.level, "message": each.message, "hint": each.hint or None}
            for each in findings
        ]
        output.document(door, {"status": status, "checks": checks})
        return CODES[status]
    for each in findings:
        output.line(output.visible(f"{each.level:<7}  {each.check}: {each.message}"))
        if each.hint and each.level != doctor.OK:
            output.line(output.visible(f"         {each.hint}"))
    return CODES[status]
