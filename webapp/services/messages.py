"""What is said about an event: the words and figures of a message, in the configuration's zone, without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.installation import Installation
from webapp.models import Configuration, Event, Run, RunProblem, Schedule
from webapp.notify.message import BAD, GOOD, WARNING, Message
from webapp.notify.words import duration, size, when
from webapp.services import recipients

SHOWN_PROBLEMS = 10
_NOUNS = {
    "create": "Backup",
    "restore": "Restore",
    "verify": "Verification",
    "cleanup": "Clean-up",
    "sync": "Copying",
    "restore-point": "Restore point",
    "export": "Export",
}
_ENDS = {
    "succeeded": (GOOD, "succeeded"),
    "recovered": (GOOD, "works again"),
    "warning": (WARNING, "finished with warnings"),
    "destination": (WARNING, "missed a destination"),
    "tampering": (BAD, "found that backups were tampered with"),
    "failed": (BAD, "failed"),
    "interrupted": (BAD, "was cut short"),
    "missed": (BAD, "is overdue"),
}
_ADVICE = {
    "warning": "`backup-cli logs` of this run and the list below name each item.",
    "destination": "Make the destination reachable again; the next run copies there what it missed.",
    "tampering": "Find out who can delete or replace objects there; `backup-cli verify --all` says what is hit.",
    "interrupted": "It is tried again by itself when it ran by its schedule; else start it again.",
    "missed": "Look whether the service, its workers and its scheduler run: `backup-cli doctor`.",
    "storage-full": "Make room there, or shorten the retention and run `backup-cli cleanup`.",
    "silenced": "Correct the recipient in the configuration or in HOLDFAST_NOTIFY, and send a test message.",
}


@dataclass(frozen=True)
class News:
    """An event with what belongs to it. `kind` is one of the words of services/recipients.py; `repeated` counts the
    same trouble that was not told since the last message."""

    event: Event
    kind: str
    configuration: Configuration | None = None
    run: Run | None = None
    problems: Sequence[RunProblem] = ()
    schedule: Schedule | None = None
    repeated: int = 0


def compose(installation: Installation, news: News) -> Message:
    """The message."""
    if news.kind == recipients.FULL:
        return _full(news)
    if news.kind == recipients.SILENCED:
        return _silenced(news)
    if news.kind == recipients.DIGEST:
        from webapp.services import digest

        return digest.message(installation, news.event)
    name = _name(news)
    kind = news.kind.rpartition("-")[2]
    tone, end = _ENDS[kind]
    noun = _NOUNS.get(news.run.kind if news.run else "create", "Run")
    run = news.run
    reason = (run.error if run and run.error else str(news.event.details.get("reason", ""))) or _reason(news, kind)
    advice = (run.hint if run and run.hint else "") or ("" if tone == GOOD else _ADVICE.get(kind, ""))
    if news.repeated:
        reason = f"{reason} (The same happened {news.repeated} more times since the last message.)".strip()
    return Message(
        tone=tone,
        subject=f"{'OK' if tone == GOOD else 'Warning' if tone == WARNING else 'FAILED'}: {name}: {noun.lower()} {end}",
        headline=f"{noun} of {name} {end}",
        facts=tuple(_facts(installation, news)),
        reason=reason,
        advice=advice or ("" if tone == GOOD else "`backup-cli doctor` looks for what is wrong."),
        problems=tuple(_problems(news)),
        link=_link(installation, news),
        footer=f"Holdfast on {installation.host}. Who is told is set in the configuration's notifications.",
    )


def test_message(installation: Installation) -> Message:
    """What the test button sends."""
    return Message(
        tone=GOOD,
        subject="OK: Holdfast can reach you",
        headline="Holdfast can reach you",
        facts=(("Sent", when(installation.clock(), installation.settings.timezone)), ("From", installation.host)),
        reason="Somebody asked for a test message. There is nothing to do.",
    )


def _name(news: News) -> str:
    if news.configuration is not None:
        return news.configuration.name
    return news.event.config_id or "Holdfast"


def _reason(news: News, kind: str) -> str:
    if kind == recipients.MISSED:
        newest = news.event.details.get("newestAt")
        return f"No new restore point came since {newest}." if newest else "There is no restore point yet."
    if kind == recipients.DESTINATION:
        return " ".join(f"{each['name']}: {each['error']}" for each in _places(news) if each.get("error"))
    if kind == recipients.TAMPERING:
        return " ".join(problem.reason for problem in news.problems if problem.kind == "tampering")
    return ""


def _places(news: News) -> list[dict[str, Any]]:
    result = (news.run.result if news.run else None) or {}
    places: list[dict[str, Any]] = result.get("destinations", [])
    return places


def _facts(installation: Installation, news: News) -> Iterator[tuple[str, str]]:
    run, configuration = news.run, news.configuration
    zone = (configuration.document.get("timezone") if configuration else None) or installation.settings.timezone
    if configuration is not None:
        yield "Configuration", f"{configuration.name} ({configuration.id})"
    if run is not None:
        yield from _run_facts(run, zone)
    else:
        yield "When", when(news.event.at, zone)
    for place in _places(news):
        yield f"At {place['name']}", "missed" if place.get("error") else "stored"
    if news.schedule is not None and news.schedule.next_at is not None and news.schedule.paused_at is None:
        yield "Next run", when(news.schedule.next_at, zone)


def _run_facts(run: Run, zone: str) -> Iterator[tuple[str, str]]:
    result = run.result or {}
    yield "Started", when(run.started_at or run.created_at, zone)
    if run.duration_seconds is not None:
        yield "Took", duration(run.duration_seconds)
    files = result.get("files")
    if files and files.get("total"):
        yield "Files", f"{files['total']:,}, of which {files['new'] + files['changed']:,} new or changed"
    for database in result.get("databases", []):
        yield "Database", f"{database['name']}: {database['tables']} tables, {size(database['bytes'])}"
    sizes = result.get("bytes")
    if sizes:
        yield "Size", f"{size(sizes['read'])} read, {size(sizes['new'])} new, {size(sizes['stored'])} stored"
    if run.backup_id:
        yield "Restore point", run.backup_id
    yield "Run", f"{run.public_id} on {run.host}, asked for by {run.identity}"


def _problems(news: News) -> Iterator[str]:
    for problem in news.problems[:SHOWN_PROBLEMS]:
        yield f"{problem.path}: {problem.reason}"
    total = news.run.problem_count if news.run else 0
    if total > SHOWN_PROBLEMS:
        yield f"and {total - SHOWN_PROBLEMS:,} more"


def _link(installation: Installation, news: News) -> str:
    base = installation.settings.public_url
    if base is None:
        return ""
    return f"{base}/runs/{news.run.public_id}" if news.run is not None else base


def _full(news: News) -> Message:
    name, free = str(news.event.details["destination"]), int(news.event.details["freeBytes"])
    days = news.event.details.get("days")
    pace = "" if days is None else f" At the pace of the last thirty days that is enough for {days:.0f} days."
    return Message(
        tone=WARNING,
        subject=f"Warning: {name} is nearly full",
        headline=f"The destination {name} is nearly full",
        facts=(("Free there", size(free)),),
        reason=f"Only {size(free)} are free at {name}.{pace} A backup that finds no room fails.",
        advice=_ADVICE[recipients.FULL],
    )


def _silenced(news: News) -> Message:
    shown, reason = str(news.event.details["shown"]), str(news.event.details["reason"])
    return Message(
        tone=WARNING,
        subject=f"Warning: {shown} gets no more messages",
        headline=f"{shown} gets no more messages of Holdfast",
        facts=(("Configuration", news.event.config_id or "all"),),
        reason=reason,
        advice=_ADVICE[recipients.SILENCED],
    )
