"""`serve` as a user starts it: from nothing to a page and a first backup; killed parts come back; nothing stays."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

from tests.support.command import CommandLine, Started

WAIT_SECONDS = 60.0


def until(what: Callable[[], Any]) -> Any:
    deadline = monotonic() + WAIT_SECONDS
    while not (found := what()):
        assert monotonic() < deadline, "it did not come"
        sleep(0.05)
    return found


@pytest.fixture
def bind(cli: CommandLine) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    cli.environment |= {
        "HOLDFAST_BIND": address,
        "HOLDFAST_TIMING": "tick=1 heartbeat=0.5 expiry=3 cancel=0.2 orphan=1",
    }
    return address


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def parts(service: Started) -> dict[str, psutil.Process]:
    """The children by what they are."""
    found = {}
    for child in psutil.Process(service.pid).children():
        try:
            words = child.cmdline()
        except psutil.Error:  # killed, and not collected yet
            continue
        if not words:
            continue
        name = "redis" if "redis-server" in words[0] else " ".join(words[words.index("cli") + 1 :])
        found[name] = child
    return found


def lives(process: psutil.Process) -> bool:
    """A process that ended counts as ended also where nobody collects it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_parts(service: Started) -> dict[str, psutil.Process]:
    return until(lambda: found if len(found := parts(service)) == 6 else None)  # type: ignore[no-any-return]


def own_backups(cli: CommandLine) -> list[Any]:
    return [run for run in cli("list", "--runs", "--json", code=0).json if run["status"] == "succeeded"]


def test_from_nothing_to_a_page_and_back(cli: CommandLine, bind: str) -> None:
    service = cli.start("serve")
    until(lambda: answers(bind))
    until(lambda: own_backups(cli))
    said = service.stderr_so_far()
    assert re.search(r"Sign in as admin with the one-time password \S{12,}", said)
    assert "recovery code" in said
    every = [*all_parts(service).values()]
    assert (cli.home / "redis").stat().st_mode & 0o777 == 0o700
    outcome = cli("create", "--config", "holdfast", "--json", code=0)
    assert outcome.json["status"] == "succeeded"
    logged = cli("logs", outcome.json["runId"], "--json", code=0).json
    assert logged["status"] == "succeeded"
    busy = cli("serve", code=2)
    assert "HOLDFAST_BIND" in busy.stderr
    service.interrupt()
    assert service.wait().code == 0
    until(lambda: not any(map(lives, every)))
    again = cli.start("serve")
    until(lambda: answers(bind))
    said = again.stderr_so_far()
    assert "password" not in said
    assert "recovery code" not in said
    again.terminate()
    assert again.wait().code == 0


def test_killed_parts_come_back_and_nothing_outlives_the_parent(cli: CommandLine, bind: str) -> None:
    service = cli.start("serve")
    until(lambda: answers(bind))
    until(lambda: own_backups(cli))
    before = all_parts(service)
    for name, process in before.items():
        process.send_signal(signal.SIGKILL)
        until(lambda name=name, process=process: (p := parts(service).get(name)) and p.pid != process.pid)
    until(lambda: answers(bind))
    outcome = cli("create", "--config", "holdfast", "--json", code=0)
    assert outcome.json["status"] == "succeeded"
    every = [*all_parts(service).values()]
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    until(lambda: not any(map(lives, every)))


def test_the_queue_gives_the_same_exit_codes(cli: CommandLine, bind: str, tmp_path: Path) -> None:
    service = cli.start("serve")
    until(lambda: own_backups(cli))
    assert cli("create", "--config", "nothing").code == 10
    config = tmp_path / "gone.json"
    document = {
        "id": "gone",
        "name": "Gone",
        "type": "files",
        "sources": {"paths": [{"path": str(tmp_path / "gone")}]},
        "destinations": [{"type": "local", "config": {"path": "./backups"}}],
    }
    config.write_text(json.dumps(document))
    here = cli("create", "--file", config, "--inline")
    there = cli("create", "--file", config)
    assert (there.code, there.stdout) == (here.code, here.stdout)
    assert here.stderr.splitlines()[-1] in there.stderr
    back = cli("restore", "--backup", "holdfast@latest", "--to", "back", "--json", code=0).json
    assert {place["target"] for place in back["targets"]} >= {str(cli.folder / "back")}
    assert (cli.folder / "back").is_dir()
    assert cli("verify", "--all", code=0).stdout.endswith("\n")
    cleaned = cli("cleanup", "--json", code=0).json
    assert cleaned["destinations"][0]["status"] == "succeeded"
    assert "run ended" in service.stderr_so_far().partition(cleaned["runId"])[0].splitlines()[-1]
    kinds = {run["kind"]: run for run in cli("list", "--runs", "--json", code=0).json}
    assert {"create", "restore", "verify", "cleanup"} <= kinds.keys()
    service.terminate()
    assert service.wait().code == 0


def test_every_line_of_the_log_is_json(cli: CommandLine, bind: str) -> None:
    """Also those of the HTTP server, about a request that is none."""
    cli("list", code=0)
    service = cli.start("serve", "--web-only")
    until(lambda: answers(bind))
    host, _, port = bind.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"\0\0 nonsense\r\n\r\n")
        connection.recv(1000)
    lines = until(lambda: [line for line in service.stderr_so_far().splitlines() if "gunicorn" in line])
    service.terminate()
    service.wait()
    assert json.loads(lines[0])["logger"] == "gunicorn.error"
    assert [line for line in service.stderr_so_far().splitlines() if not line.startswith("{")] == []
