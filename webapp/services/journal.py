"""The journal of restores that replace: what is about to happen is written down before it happens, so that after a kill
at any moment the next tick or command finishes it or takes it back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import CursorResult, delete, or_, select, update
from sqlalchemy.exc import IntegrityError

from engine.errors import EngineError
from webapp.errors import Busy, Conflict, NotFound, ServiceError
from webapp.installation import Installation
from webapp.models import Replacement, RestorePlan, Run
from webapp.models.replacement import (
    AT_WORK,
    CLEARED,
    CLEARING,
    FOLDER,
    PREPARING,
    REPLACED,
    REVERTED,
    SWAPPING,
    UNDOING,
    UNDONE,
)
from webapp.processes import is_gone
from webapp.services import audit, replace_plans, runs
from webapp.services.access import SYSTEM
from webapp.services.keyrings import Tell
from webapp.services.replaceable import ASIDE, BUILD, NEW, OLD, Place

# A process of another host or container cannot be asked whether it lives; no step but the building takes so long.
_SILENT = timedelta(hours=1)
_UNUSED = timedelta(days=1)
_AUDITED = {(SWAPPING, REPLACED): "restore.replaced", (UNDOING, UNDONE): "restore.undone"}


def begin(installation: Installation, plan: RestorePlan, run: Run) -> Replacement:
    """Takes the plan, once, and opens its entry. Raises Conflict when the plan was used, and Busy while the same target
    is being replaced."""
    label = replace_plans.new_label()
    now = installation.clock()
    entry = Replacement(
        public_id=label,
        plan_id=plan.id,
        key=plan.key,
        run_id=run.public_id,
        holder=run.public_id,
        state=PREPARING,
        names={},
        created_at=now,
        updated_at=now,
    )
    try:
        with installation.database.transaction() as session:
            free = update(RestorePlan).where(RestorePlan.id == plan.id, RestorePlan.run_id.is_(None))
            taken = session.execute(free.values(run_id=run.public_id))
            assert isinstance(taken, CursorResult)
            if not taken.rowcount:
                raise Conflict(f"The plan {plan.public_id} was used already.", hint="Make a new one.")
            session.add(entry)
            session.flush()
    except IntegrityError:
        other = _at_work(installation, plan.key)
        raise Busy(
            f"{plan.target} is being replaced by the run {other} now.", run_id=other, hint="Wait until it has ended."
        ) from None
    return find(installation, label)


def find(installation: Installation, text: str) -> Replacement:
    """The replacement with this id, or that of the run with this id; a unique beginning is enough. Raises NotFound,
    Conflict."""
    columns = (Replacement.public_id, Replacement.run_id)
    wanted = or_(*(column.startswith(text, autoescape=True) for column in columns))
    with installation.database.reading() as session:
        found = session.scalars(select(Replacement).where(wanted).limit(2)).all()
    exact = [each for each in found if text in (each.public_id, each.run_id)] or list(found)
    if not exact or not text:
        raise NotFound(
            f"There is no restore {text} that replaced something.", hint="`restore --replace` prints the id: rs_…"
        )
    if len(exact) > 1:
        raise Conflict(f"More than one restore begins with {text}.", hint="Type more of the id.")
    return exact[0]


def listing(installation: Installation, *, limit: int = 50) -> list[Replacement]:
    """Newest first."""
    with installation.database.reading() as session:
        return list(session.scalars(select(Replacement).order_by(Replacement.id.desc()).limit(limit)))


def move(
    installation: Installation,
    entry: Replacement,
    step: str,
    *,
    holder: str | None = None,
    identity: str = SYSTEM.identity,
    **values: Any,
) -> Replacement:
    """Writes the next step down, on the disk when this returns; the entry as it is now. What changed the target is
    audited with it, as done by `identity`. Raises Conflict when somebody else has moved it meanwhile."""
    if holder is not None:
        values["holder"] = holder
    try:
        with installation.database.transaction() as session:
            moved = session.execute(
                update(Replacement)
                .where(Replacement.id == entry.id, Replacement.state == entry.state)
                .where(Replacement.holder == entry.holder)
                .values(state=step, updated_at=installation.clock(), **values)
            )
            assert isinstance(moved, CursorResult)
            if not moved.rowcount:
                raise Conflict(f"The restore {entry.public_id} is in other hands now.")
            if (action := _AUDITED.get((entry.state, step))) is not None:
                now = session.get_one(Replacement, entry.id)
                after = {"backup": now.plan.backup_id, **told(now)}
                audit.record(session, installation, identity, action, now.plan.target, after=after)
    except IntegrityError:
        raise Conflict(f"{entry.plan.target} is being replaced now.", hint="Wait until that has ended.") from None
    return find(installation, entry.public_id)


def settle(installation: Installation, *, tell: Tell) -> list[str]:
    """Finishes or takes back what was cut short, and removes what was kept for long enough. What it did, as sentences;
    what it could not do is told and tried again later. Raises Unavailable."""
    runs.interrupt_dead(installation)
    due = Replacement.state.in_((REPLACED, UNDONE)) & (Replacement.kept_until <= installation.clock())
    with installation.database.reading() as session:
        query = select(Replacement).where(Replacement.state.in_(AT_WORK) | due).order_by(Replacement.id)
        entries = list(session.scalars(query))
    done = []
    for entry in entries:
        if entry.plan.kind == FOLDER and entry.plan.host != installation.host:
            continue  # its disk is not here
        if entry.state in AT_WORK and not _is_left(installation, entry):
            continue
        try:
            done.append(settle_one(installation, _claimed(installation, entry), tell=tell))
        except Conflict:
            continue  # another tick was faster
        except (EngineError, ServiceError) as error:
            tell(f"The restore {entry.public_id} of {entry.plan.target} cannot be put in order yet: {error}")
    return done


def settle_one(installation: Installation, entry: Replacement, *, tell: Tell) -> str:
    """Brings one entry, which is this process's, to rest. What was done, as a sentence. Raises EngineError and
    ServiceError when that is not possible now; then the entry stays as it is."""
    return settle_at(installation, entry, replace_plans.place_of(installation, entry.plan), tell=tell)


def settle_at(installation: Installation, entry: Replacement, place: Place, *, tell: Tell) -> str:
    """`settle_one` for an entry whose target is at this place."""
    target, names = entry.plan.target, entry.names
    if entry.state == PREPARING:
        return _revert(installation, entry, place, tell)
    if entry.state in (SWAPPING, UNDOING):
        entry, has_happened = _settled(installation, entry, place)
        if entry.state == SWAPPING and not has_happened:
            return _revert(installation, entry, place, tell)
        if entry.state == SWAPPING:
            move(installation, entry, REPLACED, **kept(installation, names))
            return f"{target} is replaced: that was finished."
        if not has_happened:
            move(installation, entry, REPLACED, kept=entry.names["aside"])
            return f"{target} stays replaced: nothing was undone."
        move(installation, entry, UNDONE, **kept(installation, names))
        return f"{target} is as it was before: that was finished."
    if entry.state != CLEARING:
        entry = move(installation, entry, CLEARING)
    if entry.kept:
        place.remove(entry.kept, names.get("keptNumber"))
    move(installation, entry, CLEARED, kept=None)
    _forget_secrets(installation, entry)
    return f"What {target} was before is removed; it was kept until {entry.kept_until:%Y-%m-%d %H:%M} UTC."


def kept(installation: Installation, names: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an entry whose swap has happened. What an undo swaps out is kept as long as what a restore does: it
    may hold what was written in between."""
    until = installation.clock() + timedelta(seconds=installation.settings.timing.kept)
    numbers = {**names, "keptNumber": names["old"]}
    return {"kept": names["outgoing"], "kept_until": until, "names": numbers}


def told(entry: Replacement) -> dict[str, Any]:
    """JSON of an entry whose swap has happened, for the run's row and the audit log: times as text."""
    assert entry.kept is not None
    assert entry.kept_until is not None
    return {
        "restoreId": entry.public_id,
        "target": entry.plan.target,
        "keptAs": shown(entry.kept),
        "previousBackupId": entry.previous_backup_id,
        "keptUntil": entry.kept_until.isoformat(),
    }


def shown(text: str) -> str:
    """A name of any bytes, for rows and people."""
    return text.encode("utf-8", "backslashreplace").decode()


def _settled(installation: Installation, entry: Replacement, place: Place) -> tuple[Replacement, bool]:
    """Whether a swap has happened; if not, it cannot happen any more: whoever was about to do it may only sleep, on a
    machine that was suspended, and would wake up after everybody agreed that nothing had been done."""
    names = entry.names
    if "aside" not in names and place.settle(names):
        return entry, True
    other = OLD if names["incoming"] == place.beside(ASIDE, entry.public_id) else ASIDE
    aside = names.get("aside") or place.beside(other, entry.public_id)
    entry = move(installation, entry, entry.state, names={**names, "aside": aside})
    place.withdraw(names, aside)
    return entry, place.settle(names)


def _revert(installation: Installation, entry: Replacement, place: Place, tell: Tell) -> str:
    """Removes what was built beside; the target was not touched."""
    from webapp.services import restores

    place.remove(place.beside(BUILD, entry.public_id))
    place.remove(place.beside(NEW, entry.public_id), entry.names.get("new"))
    if "aside" in entry.names:
        place.remove(entry.names["aside"], entry.names["new"])
    restores.sweep_beside(installation, place, tell=tell)
    move(installation, entry, REVERTED)
    _forget_secrets(installation, entry)
    return f"{entry.plan.target} is as it was: what was made beside it is removed."


def _forget_secrets(installation: Installation, entry: Replacement) -> None:
    """Nothing is done at the target any more, so its URL is not needed; and nobody takes a plan of yesterday."""
    with installation.database.transaction() as session:
        session.execute(update(RestorePlan).where(RestorePlan.id == entry.plan_id).values(sealed=None))
        old = RestorePlan.expires_at < installation.clock() - _UNUSED
        session.execute(delete(RestorePlan).where(RestorePlan.run_id.is_(None), old))


def _claimed(installation: Installation, entry: Replacement) -> Replacement:
    """The entry in our hands. Raises Conflict when somebody else was faster."""
    return move(installation, entry, entry.state, holder=installation.process)


def _is_left(installation: Installation, entry: Replacement) -> bool:
    """Whether nobody works on it any more."""
    if not entry.holder.startswith("run_"):
        mine = entry.holder == installation.process
        return mine or is_gone(entry.holder) or entry.updated_at < installation.clock() - _SILENT
    try:
        return not runs.find(installation, entry.holder).is_active
    except NotFound:
        return True


def _at_work(installation: Installation, key: str) -> str:
    with installation.database.reading() as session:
        query = select(Replacement.run_id).where(Replacement.key == key, Replacement.state.in_(AT_WORK))
        return session.scalars(query).first() or "another"
