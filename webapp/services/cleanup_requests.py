"""Clean-ups asked for by somebody who saw the plan. What is unusually much has to be confirmed (on the page by
the number of restore points); the queued run holds what goes, and its worker removes nothing when more would go."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from engine.progress import Silent
from webapp.errors import ConfirmationNeeded, Invalid
from webapp.installation import Installation
from webapp.models import Run
from webapp.services import cleanup_plans, submit
from webapp.services.access import Actor
from webapp.services.cleanup_plans import Order, Part, Plan
from webapp.services.repositories import silent
from webapp.services.runs import CLEANUP, NewRun


def preview(installation: Installation, actor: Actor, config_id: str, *, tried: dict[str, int] | None = None) -> Plan:
    """What a clean-up of this configuration would do now, or with other numbers. Raises as `cleanup_plans.plan`."""
    order = Order(actor.identity, config_id, tried=tried)
    return cleanup_plans.plan(installation, order, progress=Silent(), tell=silent)


def going(plan: Plan) -> int:
    """How many restore points would go from at least one destination."""
    return len({each.backup.public_id for place in plan.places for part in place.parts for each in part.going})


def ask(installation: Installation, actor: Actor, config_id: str, *, count: str) -> Run:
    """The queued run. Raises Invalid when nothing would go, and ConfirmationNeeded unless `count` is the number that
    would go now, where that many need to be confirmed."""
    plan = preview(installation, actor, config_id)
    number = going(plan)
    if not number:
        raise Invalid("Nothing would be removed.", hint="The retention keeps every restore point that is there.")
    asked = plan.questions.get(config_id, ())
    if asked and count.strip() != str(number):
        raise ConfirmationNeeded(" ".join(asked), hint=f"Type {number}, the number of restore points, to confirm it.")
    told = arguments(plan, confirmed=[config_id] if asked else [], seen=[config_id])
    return submit.submit(installation, NewRun(CLEANUP, actor.identity, config_id=config_id, arguments=told))


def arguments(plan: Plan, *, confirmed: Collection[str], seen: Collection[str] = ()) -> dict[str, Any]:
    """Those of a queued clean-up. What goes by this plan of the configurations in `confirmed` and `seen` is all of them
    that may go: queues are waited in, and a retention that is changed meanwhile would make another plan."""
    going = {name: plan.leaving(name) for name in sorted({*confirmed, *seen})}
    return {"now": plan.order.at_once, "confirmed": sorted(confirmed), "going": going}


def bound(plan: Plan, asked: Mapping[str, Any]) -> tuple[Plan, set[str]]:
    """A worker's own plan held against the arguments of its run, and what counts as confirmed of it: a configuration of
    which more would go than was agreed to has a question that nobody answered."""
    confirmed, agreed = set(asked.get("confirmed", ())), asked.get("going", {})
    beyond: dict[str, tuple[str, ...]] = {}
    for name in sorted(confirmed | set(agreed)):
        more = len(set(plan.leaving(name)) - set(agreed.get(name, ())))
        if more:
            what = "1 copy of a restore point more" if more == 1 else f"{more} copies of restore points more"
            beyond[name] = (f"Since it was asked for the plan has changed: {what} would go.",)
    places = tuple(replace(place, parts=tuple(_doubted(part, beyond) for part in place.parts)) for place in plan.places)
    return replace(plan, places=places, questions={**plan.questions, **beyond}), confirmed - set(beyond)


def _doubted(part: Part, beyond: Mapping[str, tuple[str, ...]]) -> Part:
    return replace(part, questions=beyond.get(part.configuration.id, part.questions))
