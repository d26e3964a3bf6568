"""The state of runs: one function moves it, one run of a configuration at a time, the dead are found and ended."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.webapp.support import Hands, document, start_at_once
from webapp.errors import Busy, Conflict, NotFound
from webapp.installation import Installation
from webapp.models import Run
from webapp.models.run import ACTIVE, CANCELLED, ENDED, FAILED, INTERRUPTED, QUEUED, RUNNING, SUCCEEDED, WARNING
from webapp.processes import is_gone, process_mark
from webapp.services import audit, configurations, runs
from webapp.services.access import SYSTEM
from webapp.services.runs import Counters, NewRun, Outcome

CREATE = NewRun("create", "local:test", config_id="shop", type="full", arguments={"tag": "x"})


@pytest.fixture(autouse=True)
def shop(installation: Installation) -> None:
    configurations.store(installation, document())


def test_a_run_from_start_to_end(installation: Installation, hands: Hands) -> None:
    begun = hands.now
    run = runs.start(installation, CREATE)
    assert (run.state, run.started_at, run.type, run.arguments) == (RUNNING, begun, "full", {"tag": "x"})
    hands.now += timedelta(seconds=12)
    pulse = runs.beat(installation, run.id, Counters(items=3, bytes_read=2**40, bytes_stored=7, problems=1))
    assert (pulse.alive, pulse.cancel_requested) == (True, False)
    hands.now += timedelta(seconds=8)
    outcome = Outcome(
        WARNING,
        counters=Counters(4, 2**41, 8, 2),
        result={"backupId": "bk_x"},
        backup_id="bk_x",
        problems=[("unreadable", "/srv/\udcff\n", "no\0pe")],
    )
    assert runs.finish(installation, run.id, outcome)
    found = runs.find(installation, run.public_id)
    assert (found.state, found.duration_seconds, found.bytes_read) == (WARNING, 20.0, 2**41)
    assert (found.result, found.backup_id, found.problem_count) == ({"backupId": "bk_x"}, "bk_x", 2)
    kept = runs.problems(installation, run.id)
    assert [(problem.path, problem.reason) for problem in kept] == [("/srv/\\udcff\n", "no\\x00pe")]


def test_the_end_of_a_run_is_audited_once(installation: Installation, hands: Hands) -> None:
    run = runs.start(installation, CREATE)
    assert list(audit.every(installation)) == []
    hands.now += timedelta(seconds=3)
    assert runs.finish(installation, run.id, Outcome(FAILED, error="the disk is gone"))
    assert not runs.finish(installation, run.id, Outcome(SUCCEEDED))
    (entry,) = audit.every(installation)
    assert (entry.identity, entry.action, entry.object) == ("local:test", "run.create", run.public_id)
    assert (entry.outcome, entry.error, entry.duration_ms) == (FAILED, "the disk is gone", 3000)
    assert not audit.verify(installation).flaws


def test_what_has_ended_stays_as_it_is(installation: Installation) -> None:
    for state, later in itertools.product(ENDED, repeat=2):
        run = runs.start(installation, CREATE)
        assert runs.finish(installation, run.id, Outcome(state, error="first"))
        assert not runs.finish(installation, run.id, Outcome(later, error="second", problems=[("x", "y", "z")]))
        assert not runs.beat(installation, run.id, Counters(items=9)).alive
        found = runs.find(installation, run.public_id)
        assert (found.state, found.error, found.items) == (state, "first", 0)
        assert runs.problems(installation, run.id) == []


def test_a_run_does_not_end_in_an_active_state(installation: Installation) -> None:
    run = runs.start(installation, CREATE)
    for state in (*ACTIVE, "done"):
        with pytest.raises(ValueError, match=state):
            runs.finish(installation, run.id, Outcome(state))


def test_the_second_create_is_busy_and_names_the_first(installation: Installation) -> None:
    first = runs.start(installation, CREATE)
    with pytest.raises(Busy) as caught:
        runs.start(installation, CREATE)
    assert caught.value.run_id == first.public_id
    assert first.public_id in str(caught.value)
    runs.start(installation, dataclasses.replace(CREATE, kind="verify"))
    runs.finish(installation, first.id, Outcome(SUCCEEDED))
    assert runs.start(installation, CREATE).public_id != first.public_id


def test_a_run_needs_its_configuration(installation: Installation) -> None:
    with pytest.raises(NotFound, match="nothing"):
        runs.start(installation, NewRun("create", "local:test", config_id="nothing"))
    assert runs.start(installation, NewRun("verify", "local:test")).config_id is None


def test_threads_that_start_at_once(installation: Installation) -> None:
    gate = threading.Barrier(8)
    started: list[Run] = []
    busy: list[str] = []

    def attempt() -> None:
        gate.wait()
        try:
            started.append(runs.start(installation, CREATE))
        except Busy as error:
            busy.append(error.run_id)

    _together(8, attempt)
    assert len(started) == 1
    assert busy == [started[0].public_id] * 7


def test_processes_that_start_at_once(installation: Installation) -> None:
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(4), context.Queue()
    arguments = (str(installation.settings.home), gate, results)
    processes = [context.Process(target=start_at_once, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(kind for kind, _ in found) == ["busy", "busy", "busy", "started"]
    assert len({run_id for _, run_id in found}) == 1


def test_threads_that_end_one_run_at_once(installation: Installation) -> None:
    for _ in range(5):
        run = runs.start(installation, CREATE)
        won = _end_at_once(installation, run)
        found = runs.find(installation, run.public_id)
        assert won == [found.state] == [found.error]


def _end_at_once(installation: Installation, run: Run) -> list[str]:
    """One thread for each final state; those whose call says that it moved the run."""
    gate = threading.Barrier(len(ENDED))
    won: list[str] = []

    def attempt(state: str) -> None:
        gate.wait()
        if runs.finish(installation, run.id, Outcome(state, error=state)):
            won.append(state)

    _run_all([threading.Thread(target=attempt, args=(state,)) for state in ENDED])
    return won


def test_a_silent_run_is_interrupted_and_the_next_one_works(installation: Installation, hands: Hands) -> None:
    run = runs.start(installation, CREATE)
    hands.now += timedelta(seconds=80)
    runs.beat(installation, run.id, Counters(items=1))
    hands.now += timedelta(seconds=90)
    assert runs.interrupt_dead(installation) == []
    hands.now += timedelta(seconds=1)
    following = runs.start(installation, CREATE)
    dead = runs.find(installation, run.public_id)
    assert (dead.state, dead.cause, dead.finished_at) == (INTERRUPTED, "interrupted", hands.now)
    assert dead.hint
    assert following.state == RUNNING
    assert not runs.finish(installation, run.id, Outcome(SUCCEEDED))
    assert runs.interrupt_dead(installation) == []


def test_a_killed_process_is_noticed_at_once(installation: Installation) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = runs.start(dataclasses.replace(installation, process=process_mark(sleeper.pid)), CREATE)
    with pytest.raises(Busy):
        runs.start(installation, CREATE)
    sleeper.kill()
    while not is_gone(run.process or ""):  # killed, and a zombie until somebody collects it
        pass
    assert runs.start(installation, CREATE).state == RUNNING
    sleeper.communicate()
    assert [found.state for found in runs.listing(installation)] == [RUNNING, INTERRUPTED]


def test_many_who_declare_the_same_run_dead_do_it_once(installation: Installation, hands: Hands) -> None:
    runs.start(installation, CREATE)
    hands.now += timedelta(hours=1)
    gate = threading.Barrier(6)
    declared: list[Run] = []

    def attempt() -> None:
        gate.wait()
        declared.extend(runs.interrupt_dead(installation))

    _together(6, attempt)
    assert [run.state for run in declared if run.state == INTERRUPTED] == [INTERRUPTED]
    assert len([run for run in runs.listing(installation) if run.state == INTERRUPTED]) == 1


def test_processes_are_told_apart() -> None:
    mark = process_mark()
    assert not is_gone(mark)
    system, pid, started = mark.split(":")
    assert is_gone(f"{system}:{pid}:{int(started) + 1}"), "the number was given to another process"
    assert not is_gone(f"another-boot/1:{pid}:1"), "what cannot be judged is not gone"
    assert not is_gone("")


def test_a_request_to_stop_reaches_the_run(installation: Installation) -> None:
    run = runs.start(installation, CREATE)
    runs.request_cancel(installation, run.public_id, actor="local:maria")
    assert runs.beat(installation, run.id, Counters()).cancel_requested
    (noted,) = audit.listing(installation, SYSTEM, action="run.cancel_asked")
    assert (noted.identity, noted.object) == ("local:maria", run.public_id)
    runs.finish(installation, run.id, Outcome(CANCELLED))
    with pytest.raises(Conflict):
        runs.request_cancel(installation, run.public_id)
    with pytest.raises(NotFound):
        runs.request_cancel(installation, "run_nothing")


def test_a_queued_run_is_cancelled_at_once(installation: Installation) -> None:
    run = runs.start(installation, CREATE)
    with installation.database.transaction() as session:
        session.get_one(Run, run.id).state = QUEUED
    runs.request_cancel(installation, run.public_id)
    assert runs.find(installation, run.public_id).state == CANCELLED


def test_runs_are_found_and_listed(installation: Installation, hands: Hands) -> None:
    begun = hands.now
    made = []
    for state in (SUCCEEDED, FAILED, SUCCEEDED):
        run = runs.start(installation, CREATE)
        runs.finish(installation, run.id, Outcome(state))
        made.append(run.public_id)
        hands.now += timedelta(days=1)
    listed = [run.public_id for run in runs.listing(installation)]
    assert listed == made[::-1]
    assert [run.public_id for run in runs.listing(installation, state=FAILED)] == [made[1]]
    assert [run.public_id for run in runs.listing(installation, since=begun + timedelta(days=1))] == listed[:2]
    assert [run.public_id for run in runs.listing(installation, limit=1)] == listed[:1]
    assert runs.listing(installation, config_id="other") == runs.listing(installation, kind="restore") == []
    assert runs.find(installation, made[0][:12]).public_id == made[0]
    assert runs.find(installation, made[0].removeprefix("run_")).public_id == made[0]
    with pytest.raises(Conflict, match="more of the id"):
        runs.find(installation, "run_")
    with pytest.raises(NotFound):
        runs.find(installation, "run_%")


def test_only_the_first_problems_are_kept(installation: Installation) -> None:
    run = runs.start(installation, CREATE)
    found = [("unreadable", f"/{number}", "x") for number in range(runs.KEPT_PROBLEMS + 5)]
    runs.finish(installation, run.id, Outcome(WARNING, counters=Counters(problems=len(found)), problems=found))
    assert len(runs.problems(installation, run.id)) == runs.KEPT_PROBLEMS
    assert runs.find(installation, run.public_id).problem_count == len(found)


def test_the_state_is_written_in_one_place() -> None:
    services = Path(runs.__file__).parent
    writers = [
        (path.name, line.strip())
        for path in sorted(services.rglob("*.py"))
        for line in path.read_text().splitlines()
        if "state=to" in line or "run.state = " in line or ("update(Run)" in line and "state=" in line)
    ]
    assert len(writers) == 1, writers


def _together(count: int, work: Callable[[], None]) -> None:
    _run_all([threading.Thread(target=work) for _ in range(count)])


def _run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
