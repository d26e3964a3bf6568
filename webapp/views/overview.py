"""The start page: is everything protected, and what must be done?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, current_app, g, render_template, url_for

from webapp.extensions import installation
from webapp.installation import Installation
from webapp.models.run import FAILED, INTERRUPTED, SUCCEEDED, WARNING
from webapp.security import needed_by, needs
from webapp.services import activity, first_steps, protection, run_phases
from webapp.services.activity import Current, Month
from webapp.services.first_steps import BACKUP, KEY, PLACE, PROOF
from webapp.services.protection import AT_RISK, OFF, PROTECTED, UNPROTECTED, Protection, Reason
from webapp.views import plots
from webapp.views.plots import BYTES, COUNT, SECOND, Plot, Series
from webapp.views.streams import fragment
from webapp.views.widgets import Widget, widget

pages = Blueprint("overview", __name__)
_SHOWN = 10
_ATTENTION = 8
_SQUARES = 40
_RUNNING = 6
_PLACES = 3
_TOPS = {PROTECTED: ("f-ok", 2), AT_RISK: ("f-warn", 9), UNPROTECTED: ("f-err", 16)}


@dataclass(frozen=True)
class Verdict:
    """What is known of all configurations: how many have each status, `points` how many restore points those have that
    are shown, `attention` with what mends it (`more` beyond those shown), and the numbers of the figures. `oldest` has
    the newest restore point that is the oldest; `without` has none."""

    found: Sequence[Protection]
    points: Mapping[str, int]
    counts: dict[str, int]
    attention: list[tuple[Protection, Reason]]
    more: int
    squares: list[tuple[str, str]]
    oldest: Protection | None
    without: Protection | None
    planned: Protection | None

    @property
    def judged(self) -> int:
        """Those that are switched on."""
        return sum(self.counts.values()) - self.counts[OFF]

    @property
    def word(self) -> str:
        """The worst of all."""
        if self.counts[UNPROTECTED] or not self.judged:
            return UNPROTECTED
        return AT_RISK if self.counts[AT_RISK] else PROTECTED


@pages.get("/")
@needs("overview.read")
def index() -> str:
    """The verdict, what needs attention, five numbers, what is running, every backup, two charts."""
    own = installation()
    verdict = widget(lambda: _verdict(own))
    found = verdict.value.found if verdict.value else []
    month = widget(lambda: activity.month(own, [each.configuration.id for each in found[:_SHOWN]]))
    current = widget(lambda: activity.current(own))
    steps: Widget[Any] = widget(lambda: _steps(found, current.value)) if verdict.value else Widget([])
    return render_template(
        "dashboard/overview.html",
        verdict=verdict,
        shown=found[:_SHOWN],
        month=month,
        charts=_drawn(month),
        current=current,
        rto=_rto(found, current.value),
        steps=steps.value or [],
        now=own.clock(),
        table_of=plots.table,
        **_running(current),
    )


@pages.get("/running")
@needs("overview.read")
def running() -> Response:
    """What is at work now, as a part of the start page; 304 when nothing changed."""
    current = widget(lambda: activity.current(installation()))
    return fragment(render_template("dashboard/_running.html", current=current, **_running(current)))


def _rto(found: Sequence[Protection], current: Current | None) -> int | None:
    """What was promised, in minutes, for the configuration that was restored last."""
    restored = current.restored if current else None
    for each in found:
        if restored is not None and each.configuration.id == restored.config_id:
            minutes: int | None = (each.configuration.document.get("objectives") or {}).get("rtoMinutes")
            return minutes
    return None


def _running(current: Widget[Current]) -> dict[str, Any]:
    works = current.value.works if current.value else ()
    shown = [(work.run, work.phase, run_phases.pace(work.run, work.phase)) for work in works[:_RUNNING]]
    return {"works": shown, "more_works": len(works) - len(shown)}


def _verdict(own: Installation) -> Verdict:
    found = protection.of_all(own)
    judged = [each for each in found if each.status != OFF]
    attention = [(each, reason) for each in judged for reason in each.reasons]
    aged = [each for each in judged if each.newest is not None]
    planned = [each for each in judged if each.schedule is not None and each.schedule.next_at is not None]
    return Verdict(
        found=found,
        points=protection.points(own, [each.configuration.id for each in found[:_SHOWN]]),
        counts=dict(protection.counts(found)),
        attention=attention[:_ATTENTION],
        more=len({each.configuration.id for each, _ in attention[_ATTENTION:]}),
        squares=_squares(judged),
        oldest=min(aged, key=lambda each: each.newest.finished_at, default=None),  # type: ignore[union-attr]
        without=next((each for each in judged if each.newest is None), None),
        planned=min(planned, key=lambda each: each.schedule.next_at, default=None),  # type: ignore
    )


def _squares(judged: Sequence[Protection]) -> list[tuple[str, str]]:
    """One for each configuration, the worst last and low, so that they read in grey too; none for too many."""
    if len(judged) > _SQUARES:
        return []
    paths: dict[str, list[str]] = {}
    for number, each in enumerate(reversed(judged)):
        style, top = _TOPS[each.status]
        x, y = number % 10 * 22, number // 10 * 26
        paths.setdefault(style, []).append(f"M{x} {y + top}h16v{24 - top}h-16z")
    return [(style, "".join(parts)) for style, parts in paths.items()]


def _drawn(month: Widget[Month]) -> Widget[Any]:
    value = month.value
    return Widget(None, month.error, month.error_id) if value is None else widget(lambda: _charts(value))


def _charts(month: Month) -> dict[str, Plot]:
    over = plots.buckets(month.every, month.since, month.since + timedelta(days=activity.DAYS))
    runs = [
        Series("good", "f-ok", over.sums(lambda day: day.runs.get(SUCCEEDED, 0))),
        Series("with warnings", "f-warn", over.sums(lambda day: day.runs.get(WARNING, 0))),
        Series("failed", "f-err", over.sums(lambda day: day.runs.get(FAILED, 0) + day.runs.get(INTERRUPTED, 0))),
    ]
    places = plots.places(over, most=_PLACES)
    return {
        "runs": plots.stacked("Backups per day of the last 30 days by outcome", over, runs, COUNT),
        "stored": plots.lines(
            "Stored at each destination in the last 30 days, added up", over, places, BYTES, wide=SECOND
        ),
    }


def _steps(found: Sequence[Protection], current: Current | None) -> list[tuple[bool, str, str, str]]:
    """What is done, what to do, where, and what the button says; of an installation that makes backups only what is
    still to do."""
    steps = first_steps.steps(installation(), found, current.restored if current else None)
    if any(step.name == BACKUP and step.is_done for step in steps):
        steps = [step for step in steps if not step.is_done]
    words = {
        PLACE: ("Say what to back up, and where to keep it.", "backups.forms.new", "New backup"),
        KEY: ("Put the recovery code away: print the kit, and type its code back.", "settings.index", "Recovery kit"),
        BACKUP: ("Make the first backup.", "backups.index", "Backups"),
        PROOF: ("Read a restore point back, or restore one beside the original.", "verification.index", "Verification"),
    }
    return [(step.is_done, words[step.name][0], _address(words[step.name][1]), words[step.name][2]) for step in steps]


def _address(endpoint: str) -> str:
    """ "" for a page that this person may not use."""
    view = current_app.view_functions.get(endpoint)
    need = None if view is None else needed_by(view)
    return url_for(endpoint) if need is not None and g.actor.may(need.permission) else ""
