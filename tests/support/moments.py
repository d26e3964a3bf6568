"""Work that is killed before a certain line of ours: every line of some files that it executes is a moment. The work
runs in a child of this process, which is killed as by `kill -9`."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

_FAILED, _SECONDS = 9, 120


def count(modules: Sequence[ModuleType], work: Callable[[], None]) -> list[str]:
    """The functions whose lines were executed when nothing killed the work, in their order: one for each moment."""
    seen: list[str] = []
    with tempfile.TemporaryFile() as told:

        def carry_out() -> None:
            sys.settrace(_tracer(modules, lambda frame: seen.append(frame.f_code.co_name)))
            work()
            sys.settrace(None)
            told.write(json.dumps(seen).encode())
            told.flush()

        assert _in_a_child(carry_out) == 0
        told.seek(0)
        names: list[str] = json.load(told)
        return names


def killed(modules: Sequence[ModuleType], work: Callable[[], None], moment: int) -> bool:
    """Kills the work before the line number `moment`, counted from 0. False when it ended before that."""
    passed = iter(range(moment + 1))

    def look(frame: FrameType) -> None:
        if next(passed, None) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def carry_out() -> None:
        sys.settrace(_tracer(modules, look))
        work()

    status = _in_a_child(carry_out)
    assert status in (0, -signal.SIGKILL), f"the work ended with {status}"
    return status != 0


def _tracer(modules: Sequence[ModuleType], look: Callable[[FrameType], None]) -> Callable[..., Any]:
    files = {str(Path(module.__file__ or "").resolve()) for module in modules}

    def inside(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        if event == "line":
            look(frame)
        return inside

    def entered(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        return inside if frame.f_code.co_filename in files else None

    return entered


def _in_a_child(work: Callable[[], None]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork where threads run
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = _FAILED
    try:
        signal.alarm(_SECONDS)  # ends work that hangs
        work()
        status = 0
    except BaseException:  # noqa: BLE001 (whatever it is, the parent has to see it)
        traceback.print_exc()
    finally:
        os._exit(status)
