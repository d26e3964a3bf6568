"""Restores that replace a folder: planned, confirmed, swapped, undone, and put in order after what went wrong."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from engine.errors import Cancelled, TargetError
from engine.progress import Silent
from tests.support.trees import snapshot
from tests.webapp.shelf import WHO, Shelf
from tests.webapp.support import Hands
from webapp.errors import Busy, ConfirmationNeeded, Conflict, Difference, Invalid, NotFound
from webapp.models import AuditEntry, Replacement, RestorePlan, Run
from webapp.services import journal, queued, records, replace_plans, replacing, restores, runs
from webapp.services.replace_plans import Changed, Wish
from webapp.services.replaceable import NEW, OLD, UNDONE, FolderPlace
from webapp.services.runs import NewRun
from webapp.services.work import Finished


class Trial:
    """A folder that was backed up, and then changed."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.installation = shelf.installation
        self.source = shelf.source
        shelf.configure()
        (self.source / "sub").mkdir(mode=0o750)
        (self.source / "sub" / "letters").write_text("as it was")
        self.backup = shelf.backup()
        self.good = shelf.state[self.backup]
        (self.source / "sub" / "letters").write_text("spoiled")
        (self.source / "new").write_text("made since")
        self.spoiled = snapshot(self.source)

    def plan(self, **wish: Any) -> RestorePlan:
        asked = Wish(self.backup, WHO, **{"targets": (str(self.source),), **wish})
        return replace_plans.make(self.installation, asked, cwd=self.source.parent, tell=self.shelf.told.append)

    def carry_out(self, plan: RestorePlan, **accepted: Any) -> Finished:
        said = {"plan_hash": plan.hash, "confirm": plan.target, **accepted}
        plan = replacing.accept(self.installation, plan.public_id, **said)
        return replacing.execute(
            self.installation, WHO, plan, cwd=self.source.parent, progress=Silent(), tell=self.shelf.told.append
        )

    def undo(self, restore_id: str) -> Finished:
        return replacing.undo(self.installation, WHO, restore_id, progress=Silent(), tell=self.shelf.told.append)

    def settle(self) -> list[str]:
        return journal.settle(self.installation, tell=self.shelf.told.append)

    def beside(self) -> list[str]:
        """What lies beside the folder under names of ours."""
        return sorted(each.name for each in self.source.parent.iterdir() if "holdfast" in each.name)


@pytest.fixture
def trial(shelf: Shelf) -> Trial:
    return Trial(shelf)


def test_a_folder_is_replaced_and_undone(trial: Trial) -> None:
    done = trial.carry_out(trial.plan())
    assert done.error is None, done.error
    assert snapshot(trial.source) == trial.good
    assert done.run.result is not None
    told = done.run.result["replaced"]
    assert snapshot(Path(told["keptAs"])) == trial.spoiled
    trial.shelf.state[told["previousBackupId"]] = trial.spoiled
    trial.shelf.check([told["previousBackupId"]])  # a restore point of what was replaced exists
    back = trial.undo(told["restoreId"])
    assert back.error is None, back.error
    assert snapshot(trial.source) == trial.spoiled
    assert journal.find(trial.installation, told["restoreId"]).state == "undone"


def test_owner_and_mode_of_the_folder_stay(trial: Trial) -> None:
    trial.source.chmod(0o711)
    done = trial.carry_out(trial.plan())
    assert done.error is None, done.error
    assert trial.source.stat().st_mode & 0o777 == 0o711
    assert (trial.source / "sub").stat().st_mode & 0o777 == 0o750


def test_only_the_exact_target_and_hash_go_on_and_a_plan_counts_once(trial: Trial, hands: Hands) -> None:
    plan = trial.plan()
    with pytest.raises(ConfirmationNeeded):
        trial.carry_out(plan, confirm=f"{plan.target}/")
    with pytest.raises(Conflict, match="another hash"):
        trial.carry_out(plan, plan_hash="0" * 64)
    with pytest.raises(NotFound):
        replacing.accept(trial.installation, "pl_none", plan_hash=plan.hash, confirm=plan.target)
    accepted = replacing.accept(trial.installation, plan.public_id, plan_hash=plan.hash, confirm=plan.target)
    assert trial.carry_out(plan).error is None
    with pytest.raises(Conflict, match="was used by the run"):
        trial.carry_out(plan)
    again = replacing.execute(
        trial.installation, WHO, accepted, cwd=trial.source, progress=Silent(), tell=trial.shelf.told.append
    )
    assert "was used already" in str(again.error)
    late = trial.plan()
    hands.now += timedelta(hours=1)
    with pytest.raises(Conflict, match="too old"):
        trial.carry_out(late)


def test_a_folder_that_changed_since_the_plan_is_not_replaced(trial: Trial) -> None:
    plan = trial.plan()
    (trial.source / "late").write_text("an order that came in meanwhile")
    with pytest.raises(Changed, match=r"Items: \d then, \d now\."):
        trial.carry_out(plan)
    assert (trial.source / "late").exists()
    assert len(list(records.of_configuration(trial.installation, "shop"))) == 1  # not even a restore point was made


def test_a_folder_that_changes_after_it_was_accepted_is_not_replaced(trial: Trial) -> None:
    plan = trial.plan()
    accepted = replacing.accept(trial.installation, plan.public_id, plan_hash=plan.hash, confirm=plan.target)
    (trial.source / "late").write_text("an order that came in meanwhile")
    done = replacing.execute(
        trial.installation, WHO, accepted, cwd=trial.source, progress=Silent(), tell=trial.shelf.told.append
    )
    assert isinstance(done.error, Changed)
    assert (trial.source / "late").exists()
    assert trial.beside() == []


def test_what_is_not_as_it_was_backed_up_never_takes_the_place(trial: Trial) -> None:
    class Meddler(Silent):
        """Writes into what was restored before it is compared."""

        def phase(self, name: str, *, expected: int = 0) -> None:
            if name == "compare":
                (letters,) = trial.source.parent.glob(".holdfast-restore-*/**/sub/letters")
                letters.write_text("meddled with")

    plan = trial.plan()
    done = replacing.execute(
        trial.installation, WHO, plan, cwd=trial.source, progress=Meddler(), tell=trial.shelf.told.append
    )
    assert isinstance(done.error, Difference)
    assert done.error.hint == f"{plan.target} was not touched."
    assert snapshot(trial.source) == trial.spoiled
    assert trial.beside() == []
    (entry,) = journal.listing(trial.installation)
    assert entry.state == "reverted"
    assert entry.error is not None


def test_a_target_of_no_configuration_gets_one_of_its_own(trial: Trial) -> None:
    other = trial.source.with_name("other")
    other.mkdir()
    (other / "mine").write_text("not in any backup")
    before = snapshot(other)
    plan = trial.plan(targets=(str(other),))
    config_id = plan.document["restorePoint"]["configId"]
    assert plan.document["restorePoint"]["own"]
    assert config_id.startswith("before-replacing-")
    done = trial.carry_out(plan)
    assert done.error is None, done.error
    assert (other / "sub" / "letters").read_text() == "as it was"
    assert not (other / "mine").exists()
    previous = (done.run.result or {})["replaced"]["previousBackupId"]
    out = trial.source.with_name("out")
    order = restores.Order(previous, WHO, targets=(str(out),))
    back = restores.restore(trial.installation, order, cwd=out.parent, progress=Silent(), tell=trial.shelf.told.append)
    assert back.error is None, back.error
    assert snapshot(out.joinpath(*other.parts[1:])) == before


def test_what_cannot_be_replaced_is_refused_in_a_sentence(trial: Trial) -> None:
    home = trial.installation.settings.home
    link = trial.source.with_name("link")
    link.symlink_to(trial.source)
    (trial.source.with_name("file")).write_text("no folder")
    for target, error, reason in (
        (home, Invalid, "HOLDFAST_HOME is"),
        (home / "backups" / "packs", Invalid, "cannot be replaced"),
        (home.parent, Invalid, "cannot be replaced"),
        (Path("/proc"), TargetError, "is a mount point"),
        (link, TargetError, "is a symbolic link"),
        (trial.source.with_name("file"), TargetError, "is not a folder"),
        (trial.source.with_name("none"), TargetError, "There is no folder"),
    ):
        with pytest.raises(error, match=reason):
            trial.plan(targets=(str(target),))
    with pytest.raises(Invalid, match="takes whole folders"):
        trial.plan(only=(str(trial.source / "sub" / "letters"),))
    with pytest.raises(Invalid, match="one thing at a time"):
        trial.plan(targets=(str(trial.source), "postgresql://host/shop"))


def test_one_folder_of_several_is_chosen_and_a_part_of_one(trial: Trial) -> None:
    done = trial.carry_out(trial.plan(targets=(), only=(str(trial.source / "sub"),)))
    assert done.error is None, done.error
    assert snapshot(trial.source / "sub") != {}
    assert (trial.source / "sub" / "letters").read_text() == "as it was"
    assert (trial.source / "new").exists()


def test_two_never_replace_one_target_at_once(trial: Trial) -> None:
    first, second = trial.plan(), trial.plan()
    new = NewRun("restore", WHO, backup_id=trial.backup)
    run = runs.start(trial.installation, new)
    journal.begin(trial.installation, first, run)
    with pytest.raises(Busy, match="is being replaced by the run"):
        journal.begin(trial.installation, second, runs.start(trial.installation, new))


def test_what_was_kept_goes_when_its_time_is_over(trial: Trial, hands: Hands) -> None:
    done = trial.carry_out(trial.plan())
    told = (done.run.result or {})["replaced"]
    assert trial.settle() == []
    assert trial.beside() == [Path(told["keptAs"]).name]
    hands.now += timedelta(hours=72)
    with pytest.raises(Conflict, match="is cleared: there is nothing to swap back"):
        trial.undo(told["restoreId"])
    assert trial.beside() == []
    assert snapshot(trial.source) == trial.good


def test_what_was_put_in_the_place_of_the_kept_one_is_not_taken_for_it(trial: Trial, hands: Hands) -> None:
    done = trial.carry_out(trial.plan())
    told = (done.run.result or {})["replaced"]
    kept = Path(told["keptAs"])
    kept.rename(kept.with_name("moved-by-hand"))
    kept.mkdir()
    assert isinstance(trial.undo(told["restoreId"]).error, TargetError)
    assert snapshot(trial.source) == trial.good
    hands.now += timedelta(hours=72)
    trial.settle()
    assert kept.exists()  # it is not ours to remove


def test_both_go_through_the_queue(trial: Trial) -> None:
    plan = trial.plan()
    plan = replacing.accept(trial.installation, plan.public_id, plan_hash=plan.hash, confirm=plan.target)
    sent = replacing.send(trial.installation, WHO, plan, cwd=trial.source, reason="a slip")
    assert sent.state == "queued"
    done = _worked(trial, sent)
    assert done.state == "succeeded", done.error
    assert snapshot(trial.source) == trial.good
    assert done.arguments["reason"] == "a slip"
    restore_id = (done.result or {})["replaced"]["restoreId"]
    back = _worked(trial, replacing.send_undo(trial.installation, WHO, restore_id))
    assert (back.state, back.type) == ("succeeded", "undo"), back.error
    assert snapshot(trial.source) == trial.spoiled
    with pytest.raises(Conflict, match="was undone already"):
        replacing.send_undo(trial.installation, WHO, restore_id)


def _worked(trial: Trial, run: Run) -> Run:
    """As a worker does it."""
    return queued.carry_out(
        trial.installation, run.public_id, cwd=trial.source, stop=threading.Event(), end=lambda: None
    )


def test_one_that_is_cancelled_leaves_everything_as_it_was(trial: Trial) -> None:
    class Impatient(Silent):
        """Presses Ctrl-C when the new one is built."""

        def phase(self, name: str, *, expected: int = 0) -> None:
            if name == "compare":
                raise Cancelled("Interrupted.")

    plan = trial.plan()
    done = replacing.execute(
        trial.installation, WHO, plan, cwd=trial.source, progress=Impatient(), tell=trial.shelf.told.append
    )
    assert done.run.state == "cancelled"
    assert snapshot(trial.source) == trial.spoiled
    assert trial.beside() == []
    assert [entry.state for entry in journal.listing(trial.installation)] == ["reverted"]


class Sleeper(FolderPlace):
    """The place as a tick sees it: right after it has looked whether the swap has happened, the process that had
    written the swap down, and then slept, wakes up and does it."""

    def settle(self, names: Any) -> bool:
        happened = super().settle(names)
        if not happened and Path(names["incoming"]).exists():
            FolderPlace(self.path).swap(names)
        return happened


def _about_to_swap(trial: Trial) -> Replacement:
    """As it is written down when everything is built beside the target."""
    plan = trial.plan()
    run = runs.start(trial.installation, NewRun("restore", WHO, config_id="shop", backup_id=trial.backup))
    entry = journal.begin(trial.installation, plan, run)
    place = FolderPlace(trial.source)
    incoming = Path(place.beside(NEW, entry.public_id))
    incoming.mkdir()
    (incoming / "letters").write_text("restored")
    names = replacing._names(place, str(incoming), place.beside(OLD, entry.public_id))
    return journal.move(trial.installation, entry, "swapping", names=names)


def test_a_swap_that_comes_after_a_tick_looked_is_on_record(trial: Trial) -> None:
    entry = _about_to_swap(trial)
    said = journal.settle_at(trial.installation, entry, Sleeper(trial.source), tell=trial.shelf.told.append)
    assert "is replaced" in said
    assert (trial.source / "letters").read_text() == "restored"
    now = journal.find(trial.installation, entry.public_id)
    assert now.state == "replaced"
    assert snapshot(Path(now.kept or "")) == trial.spoiled
    assert _audited(trial) == [("restore.replaced", "system", str(trial.source))]


def test_a_swap_that_was_taken_back_cannot_happen_later(trial: Trial) -> None:
    entry = _about_to_swap(trial)
    assert "is as it was" in journal.settle_one(trial.installation, entry, tell=trial.shelf.told.append)
    with pytest.raises(TargetError):
        FolderPlace(trial.source).swap(entry.names)
    assert snapshot(trial.source) == trial.spoiled
    assert trial.beside() == []
    assert _audited(trial) == []


def test_a_swap_cannot_come_while_it_is_taken_back(trial: Trial) -> None:
    entry = _about_to_swap(trial)

    class Late(FolderPlace):
        """The sleeper wakes up when the tick has looked for the last time."""

        def remove(self, name: str, identity: int | None = None) -> None:
            with suppress(TargetError):
                FolderPlace(self.path).swap(entry.names)
            super().remove(name, identity)

    journal.settle_at(trial.installation, entry, Late(trial.source), tell=trial.shelf.told.append)
    assert snapshot(trial.source) == trial.spoiled
    assert (trial.beside(), journal.find(trial.installation, entry.public_id).state) == ([], "reverted")


@pytest.mark.parametrize("awake", [True, False])
def test_an_undo_is_done_or_can_be_done_again(trial: Trial, awake: bool) -> None:
    done = trial.carry_out(trial.plan())
    entry = journal.find(trial.installation, (done.run.result or {})["replaced"]["restoreId"])
    place = FolderPlace(trial.source)
    names = replacing._names(place, entry.kept or "", place.beside(UNDONE, entry.public_id))
    names["keptNumber"] = names["new"]
    entry = journal.move(trial.installation, entry, "undoing", names=names)
    where = Sleeper(trial.source) if awake else place
    journal.settle_at(trial.installation, entry, where, tell=trial.shelf.told.append)
    assert snapshot(trial.source) == (trial.spoiled if awake else trial.good)
    assert journal.find(trial.installation, entry.public_id).state == ("undone" if awake else "replaced")
    if not awake:
        with pytest.raises(TargetError):
            place.swap(names)
        assert trial.undo(entry.public_id).error is None
        assert snapshot(trial.source) == trial.spoiled


def test_what_cannot_be_audited_at_once_is_replaced_and_audited_all_the_same(trial: Trial) -> None:
    failures = []

    def fail(mapper: object, connection: object, added: AuditEntry) -> None:
        if added.action == "restore.replaced" and not failures:
            failures.append(added.sequence)
            raise OperationalError("INSERT", {}, Exception("disk I/O error"))

    event.listen(AuditEntry, "before_insert", fail)
    try:
        done = trial.carry_out(trial.plan())
    finally:
        event.remove(AuditEntry, "before_insert", fail)
    assert failures
    assert (done.run.state, done.error) == ("succeeded", None)
    assert snapshot(trial.source) == trial.good
    assert _audited(trial) == [("restore.replaced", WHO, str(trial.source))]


def _audited(trial: Trial) -> list[tuple[str, str, str]]:
    columns = (AuditEntry.action, AuditEntry.identity, AuditEntry.object)
    with trial.installation.database.reading() as session:
        return list(session.execute(select(*columns).where(AuditEntry.action.startswith("restore."))))
