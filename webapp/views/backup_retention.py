"""What the retention of a configuration would remove, and why the rest stays; other numbers tried without storing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from webapp.errors import ConfigurationInvalid, ConfirmationNeeded, Fault, Invalid
from webapp.extensions import installation
from webapp.schema.defaults import RETENTION, Document
from webapp.security import needs
from webapp.services import cleanup_requests, configurations, outlook, retention
from webapp.services.cleanup_plans import Plan
from webapp.services.point_facts import WEEKS, Day, weeks_until
from webapp.services.retention import Verdict
from webapp.views.heat import Heat, heat

pages = Blueprint("retention", __name__)
_ROWS = 50


@pages.route("/<config_id>/retention", methods=["GET", "POST"])
@needs("retention.apply")
def show(config_id: str) -> Any:
    """The plan; a POST asks for it to be carried out."""
    own = installation()
    configuration = configurations.find(own, config_id)
    if request.method == "POST":
        try:
            run = cleanup_requests.ask(own, g.actor, config_id, count=request.form.get("count", ""))
        except (ConfirmationNeeded, Invalid) as error:
            return _page(configuration, None, (), error), 422
        flash("The clean-up was asked for. What goes lies in a trash for 7 days.")
        return redirect(url_for("runs.show", run_id=run.public_id))
    tried, faults = _tried(config_id, configurations.shown(configuration))
    return _page(configuration, tried, faults), 422 if faults else 200


def _tried(config_id: str, document: Document) -> tuple[Document | None, tuple[Fault, ...]]:
    """The numbers in the address, when there are any and they are others than those that are stored."""
    typed = {name: request.args[name].strip() for name in RETENTION if request.args.get(name, "").strip()}
    if not typed:
        return None, ()
    numbers = {name: int(text) if text.isdecimal() and len(text) < 10 else text for name, text in typed.items()}
    try:
        configurations.check(installation(), {**document, "retention": numbers}, config_id=config_id)
    except ConfigurationInvalid as error:
        return numbers, error.faults
    stored = document.get("retention")
    is_same = stored is not None and {**RETENTION, **stored} == {**RETENTION, **numbers}
    return (None if is_same else numbers), ()


def _page(configuration: Any, tried: Document | None, faults: tuple[Fault, ...], error: Exception | None = None) -> str:
    own = installation()
    document = configurations.shown(configuration)
    plan = cleanup_requests.preview(own, g.actor, configuration.id, tried=None if faults else tried)
    numbers = tried if tried is not None else document.get("retention") or {}
    return render_template(
        "backups/retention.html",
        configuration=configuration,
        numbers={name: numbers.get(name, "") for name in RETENTION},
        words="" if faults else outlook.retention_words(numbers),
        tried=tried,
        faults={fault.pointer.rpartition("/")[2]: fault.detail for fault in faults},
        error=error,
        plan=plan,
        going=cleanup_requests.going(plan),
        shown=_first_going,
        made_at=retention.made_at,
        rows=_ROWS,
        heat=_calendar(plan, retention.zone_of(own, configuration)),
        document=json.dumps({**document, "retention": tried}) if tried and not faults else "",
        began=json.dumps(document),
    )


def _first_going(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What goes before what stays, each newest first."""
    return sorted(verdicts, key=lambda each: each.decision.keep)[:_ROWS]


def _calendar(plan: Plan, zone: ZoneInfo) -> Heat:
    """The last half year, in the zone of the configuration; a day has an outline when a restore point of it goes."""
    points: Counter[Any] = Counter()
    lost: Counter[Any] = Counter()
    seen: set[str] = set()
    for place in plan.places:
        for part in place.parts:
            for each in part.verdicts:
                day = retention.made_at(each.backup).astimezone(zone).date()
                if each.backup.public_id not in seen:
                    seen.add(each.backup.public_id)
                    points[day] += 1
                lost[day] += not each.decision.keep
    days = weeks_until(installation().clock().astimezone(zone).date())
    drawn = heat([Day(day, points[day], lost[day]) for day in days])
    label = f"{WEEKS} weeks: restore points on {sum(day in points for day in days)} days, of {len(+lost)} days some go"
    return replace(drawn, label=label)
