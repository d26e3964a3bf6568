"""Between the form of a configuration and its document, both ways. What the form does not show stays as it was."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from webapp.errors import Fault
from webapp.forms.backup import STORED, Backup, setting_names
from webapp.schema import kinds
from webapp.schema.defaults import CONFIGURATION, Document
from webapp.schema.retention import COUNTED

_PLAIN = ("id", "name", "type", "schedule", "timezone", "environment", "compression", "cipher")
_TICKS = ("enabled", "encryption")
_KEPT = {**{f"keep_{name}": name for name in COUNTED}, "keep_min": "keepMin"}
_OBJECTIVES = {"rpo": "rpoMinutes", "rto": "rtoMinutes"}
_RECIPIENTS = {"on_failure": "onFailure", "on_success": "onSuccess"}


def filled(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the fields show of a document (without secrets)."""
    whole = {**CONFIGURATION, **document}
    sources = document.get("sources") or {}
    shown: dict[str, Any] = {name: whole.get(name) or "" for name in _PLAIN}
    shown.update({name: whole[name] for name in _TICKS})
    shown["databases"] = _lines(item["url"] for item in sources.get("databases", ()))
    shown["folders"] = _lines(item["path"] for item in sources.get("paths", ()))
    shown["exclude"] = _lines(common_exclude(document) or ())
    for names, part in ((_KEPT, "retention"), (_OBJECTIVES, "objectives")):
        shown.update({field: (whole.get(part) or {}).get(key, "") for field, key in names.items()})
    for field, key in _RECIPIENTS.items():
        shown[field] = _lines((whole.get("notifications") or {}).get(key, ()))
    shown["places"] = [_place(number, item) for number, item in enumerate(document.get("destinations", ()))]
    return shown


def common_exclude(document: Mapping[str, Any]) -> list[str] | None:
    """The patterns that are left out of every folder; None where folders differ, which the form cannot show."""
    found = [item.get("exclude", []) for item in (document.get("sources") or {}).get("paths", ())]
    return None if any(each != found[0] for each in found) else found[0] if found else []


def typed(form: Backup, base: Mapping[str, Any]) -> Document:
    """The document that the form stands for, in which secrets that were not typed anew read (hidden)."""
    document: Document = copy.deepcopy(dict(base))
    for name in _PLAIN:
        _put(document, name, (form[name].data or "").strip() or None)
    for name in _TICKS:
        _put(document, name, form[name].data)
    _put(document, "sources", _sources(form, base))
    for names, part in ((_KEPT, "retention"), (_OBJECTIVES, "objectives")):
        values = {key: _number(form[field].data) for field, key in names.items()}
        _put(document, part, _part(base.get(part) or {}, values))
    recipients = {key: _split(form[field].data) or None for field, key in _RECIPIENTS.items()}
    _put(document, "notifications", _part(base.get("notifications") or {}, recipients) or {})
    document["destinations"] = [item for _, item in _destinations(form, base)]
    return document


def mark(form: Backup, base: Mapping[str, Any], faults: tuple[Fault, ...]) -> None:
    """Puts each fault at its field; what the form does not show goes to those of the whole form."""
    rows = [row for row, _ in _destinations(form, base)]
    for fault in faults:
        field, text = _field_of(form, rows, fault)
        if field is None:
            form.form_errors.append(str(fault))
        else:
            field.errors = [*field.errors, text]
            if field.name not in form:
                form.places.errors = [text]  # wtforms would collect it only while it validates


def _field_of(form: Backup, rows: list[Any], fault: Fault) -> tuple[Any, str]:
    parts = fault.pointer.split("/")[1:]
    head, second = (*parts, "", "")[:2]
    rest = parts[2:]
    if head in (*_PLAIN, *_TICKS):
        return form[head], fault.detail
    if head == "sources":
        return _source_field(form, second, rest, fault.detail)
    for names, part in ((_KEPT, "retention"), (_OBJECTIVES, "objectives"), (_RECIPIENTS, "notifications")):
        if head == part:
            field = next((each for each, key in names.items() if key == second), next(iter(names)))
            return form[field], _with_line(rest[0] if rest else "", fault.detail)
    if head == "destinations" and second.isdigit() and int(second) < len(rows):
        row = rows[int(second)]
        fields = {each.short_name: each for each in row}
        name = f"{row.kind.data}_{kinds.inside(rest[-1])}" if rest else ""
        return fields.get(name, row.kind), fault.detail
    if head == "destinations" and not second and form.places.entries:
        return form.places.entries[0].form.kind, fault.detail
    return None, ""


def _source_field(form: Backup, which: str, rest: list[str], detail: str) -> tuple[Any, str]:
    number = rest[0] if rest else ""
    if which == "paths" and "exclude" in rest:
        return form.exclude, detail
    return (form.folders if which == "paths" else form.databases), _with_line(number, detail)


def _with_line(number: str, detail: str) -> str:
    return f"Line {int(number) + 1} {detail}" if number.isdigit() else detail


def _put(document: Document, key: str, value: Any) -> None:
    """A default that nobody wrote down is not written down."""
    if value == CONFIGURATION.get(key) and key not in document:
        return
    if value is None and key in CONFIGURATION:
        document.pop(key, None)
    else:
        document[key] = "" if value is None else value


def _part(base: Mapping[str, Any], values: Mapping[str, Any]) -> Document | None:
    """A part of the document with some of its keys set; None when nothing is left. A list that was empty stays."""
    whole = {**base, **{key: value for key, value in values.items() if value is not None or base.get(key)}}
    return {key: value for key, value in whole.items() if value is not None} or None


def _sources(form: Backup, base: Mapping[str, Any]) -> Document | None:
    before = base.get("sources") or {}
    databases = [_kept(before.get("databases", ()), "url", line) for line in _split(form.databases.data)]
    paths = [_kept(before.get("paths", ()), "path", line) for line in _split(form.folders.data)]
    if common_exclude(base) is not None:
        patterns = _split(form.exclude.data)
        paths = [_with_exclude(item, patterns) for item in paths]
    found = {key: value for key, value in (("databases", databases), ("paths", paths)) if value or key in before}
    return {**before, **found} if databases or paths else None


def _kept(before: Any, key: str, line: str) -> Document:
    """The source that was there under this name, with its other keys; else a new one."""
    return copy.deepcopy(next((dict(item) for item in before if item[key] == line), {key: line}))


def _with_exclude(item: Document, patterns: list[str]) -> Document:
    if patterns or "exclude" in item:
        return {**item, "exclude": patterns}
    return item


def _place(number: int, item: Mapping[str, Any]) -> dict[str, Any]:
    if "ref" in item:
        return {"was": number, "kind": STORED, "ref": item["ref"]}
    kind, settings = item["type"], item["config"]
    shown = {name: settings.get(kinds.outside(name.partition("_")[2])) or "" for name in setting_names(kind)}
    return {"was": number, "kind": kind, **shown}


def _destinations(form: Backup, base: Mapping[str, Any]) -> list[tuple[Any, Document]]:
    """Each row that counts with the destination that it stands for."""
    before = list(base.get("destinations", ()))
    found = []
    for entry in form.places.entries:
        row = entry.form
        if row.removed.data or not row.kind.data:
            continue
        was = numeral(row.was.data)
        known = before[was] if was is not None and was < len(before) else {}
        found.append((row, _destination(row, known)))
    return found


def _destination(row: Any, known: Mapping[str, Any]) -> Document:
    own = {"retention": known["retention"]} if "retention" in known else {}
    kind = row.kind.data
    if kind not in kinds.names():
        return {"ref": row.ref.data or "", **own} if kind == STORED else {"type": kind, "config": {}}
    before = known.get("config", {}) if known.get("type") == kind else {}
    settings: Document = copy.deepcopy(dict(before))
    for item in dataclasses.fields(kinds.config_class(kind)):
        name, key = f"{kind}_{item.name}", kinds.outside(item.name)
        value = (row[name].data or "").strip()
        is_secret = bool(item.metadata.get("secret"))
        if is_secret and not value:
            value = "" if row[f"{name}_removed"].data else settings.get(key) or ""
        if value or item.default is dataclasses.MISSING:
            settings[key] = value
        else:
            settings.pop(key, None)
    return {"type": kind, "config": settings, **own}


def secret_is_stored(base: Mapping[str, Any], row: Any, name: str) -> bool:
    """Whether there is something that an empty field of this row would keep."""
    was = numeral(row.was.data)
    places = list(base.get("destinations", ()))
    if was is None or was >= len(places):
        return False
    kind, _, setting = name.partition("_")
    item = places[was]
    return item.get("type") == kind and bool(item["config"].get(kinds.outside(setting)))


def _lines(items: Any) -> str:
    return "\n".join(items)


def _split(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def numeral(text: Any) -> int | None:
    """A number of at most nine plain digits; None for anything else."""
    cleaned = str("" if text is None else text).strip()
    return int(cleaned) if cleaned.isascii() and cleaned.isdecimal() and len(cleaned) < 10 else None


def _number(text: Any) -> Any:
    """A number as one; anything else as it was typed, so that the schema can say what is wrong with it."""
    found = numeral(text)
    return found if found is not None else str("" if text is None else text).strip() or None
