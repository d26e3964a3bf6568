"""A clean-up of one configuration, asked for by a person who saw its plan: what is unusually much has to be confirmed
by the number of restore points, so that nobody confirms another plan than the one that was read."""

from __future__ import annotations

from engine.progress import Silent
from webapp.errors import ConfirmationNeeded, Invalid
from webapp.installation import Installation
from webapp.models import Run
from webapp.services import cleanup_plans, submit
from webapp.services.access import Actor
from webapp.services.cleanup_plans import Order, Plan
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
    arguments = {"now": False, "confirmed": [config_id] if asked else []}
    return submit.submit(installation, NewRun(CLEANUP, actor.identity, config_id=config_id, arguments=arguments))
