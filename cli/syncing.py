"""How the end of `destination sync` is told: one JSON document, or a few lines for each destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli import output
from cli.results import ended

if TYPE_CHECKING:
    from cli.state import Door
    from webapp.services.work import Finished

_SHOWN = 10


def tell_sync(door: Door, finished: Finished) -> int:
    """Tells it and returns the exit code."""
    from webapp.services import healing

    found = healing.document(finished)
    if door.json:
        output.document(door, found)
        return ended(door, finished)
    for place in found["destinations"]:
        if finished.error is not None and place["error"] == str(finished.error):
            continue  # it is told as the end of the whole
        name = output.visible(place["name"])
        for text in _lines(place, is_plan=found["dryRun"]):
            output.line(f"{name}: {output.visible(text)}")
    if found["dryRun"]:
        output.line("Nothing was changed.")
    return ended(door, finished)


def _lines(place: dict[str, Any], *, is_plan: bool) -> list[str]:
    if place["error"]:
        return [place["error"]]
    if is_plan:
        lines = [f"{each} would be copied" for each in place["missing"]]
        lines += [f"{each['object']} is {each['kind']}: {each['action']}" for each in place["found"]]
        return lines or ["nothing to be done"]
    copied, repaired = place["copied"], place["repaired"]
    lines = []
    if copied["restorePoints"]:
        points = output.counted(len(copied["restorePoints"]), "restore point")
        lines.append(f"{points} copied")
    if copied["packs"] or copied["blobs"]:
        parts = output.counted(copied["packs"], "pack"), output.counted(copied["blobs"], "single blob")
        lines.append(f"{' and '.join(parts)} stored, {output.size(copied['bytes'])}")
    lines += [f"{each} is there again" for each in repaired["putBack"]]
    lines += [f"{each} was made anew" for each in repaired["madeAnew"]]
    lines += [f"{each['object']} was set aside as {each['as']}" for each in repaired["setAside"]]
    lines += _some(repaired["readAgain"], "was read again at the source")
    lines += [f"{backup} was given up; what is left of it lies in the trash" for backup in place["givenUp"]]
    for damage in place["lost"]:
        lines.append(f"{damage['object']} is still {damage['kind']}: {damage['reason']}")
        lines += [f"  hits {backup}" for backup in damage["backups"]]
        lines += [f"  {line}" for line in _some(damage["files"], "is hit")]
    return lines or ["up to date"]


def _some(paths: list[str], what: str) -> list[str]:
    lines = [f"{path} {what}" for path in paths[:_SHOWN]]
    if len(paths) > _SHOWN:
        lines.append(f"and {len(paths) - _SHOWN} more files; --json lists them")
    return lines
