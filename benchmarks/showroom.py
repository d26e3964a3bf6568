"""The real service on a filled home (benchmarks/filled.py), and a real Chromium that is signed in to it: what the
tests in a browser and `./run screenshots` both begin with."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from playwright.sync_api import Browser, Page, StorageState, sync_playwright

from benchmarks.filled import Filled, fill

CHECKOUT = Path(__file__).resolve().parent.parent
PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Debian's Chromium in a container: no sandbox, no graphics card, and nothing asked of anybody outside.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
PASSWORD = "correct horse battery"
START_SECONDS, LOOK_SECONDS, STOP_SECONDS = 120.0, 0.1, 30.0
TIMING = "tick=1 heartbeat=0.5 expiry=5 cancel=0.2 orphan=1"


@dataclass
class Showroom:
    """A service that runs at `address`, and what is in it; `states` are the cookies of who has signed in."""

    address: str
    environment: Mapping[str, str]
    filled: Filled
    log: Path
    states: dict[str, StorageState] = field(default_factory=dict)


def program() -> str | None:
    """Chromium's path; None when there is none."""
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


@contextmanager
def opened(folder: Path, *, days: int) -> Iterator[Showroom]:
    """The service with everything that belongs to it, until the block ends. Raises RuntimeError with its log when it
    does not come."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.environ.get("PYTHONPATH") or str(CHECKOUT),
        "HOLDFAST_HOME": str(folder / "home"),
        "HOLDFAST_BIND": bind,
        "HOLDFAST_TIMING": TIMING,
        "HOLDFAST_TIMEZONE": "Europe/Berlin",
        "HOLDFAST_DEVELOPMENT": "yes",
    }
    filled = fill(environment, folder / "data", days=days)
    log = folder / "service.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "serve"],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        _wait_for(f"http://{bind}/healthz", process, log)
        yield Showroom(f"http://{bind}", environment, filled, log)
    finally:
        _stop(process)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium of its own, without a window."""
    found = program()
    if found is None:
        raise FileNotFoundError(f"There is no Chromium on PATH; looked for {', '.join(PROGRAMS)}.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


def sign_in(page: Page, showroom: Showroom, name: str) -> None:
    """As a person does it; at the first time the one-time password is changed."""
    is_first = name not in showroom.states
    page.goto(f"{showroom.address}/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password", exact=True).fill(showroom.filled.passwords[name] if is_first else PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    if is_first:
        page.get_by_label("Present password").fill(showroom.filled.passwords[name])
        page.get_by_label("New password", exact=True).fill(PASSWORD)
        page.get_by_label("New password again").fill(PASSWORD)
        page.get_by_role("button", name="Change the password").click()
    page.get_by_role("heading", level=1, name="Overview").wait_for()
    showroom.states[name] = page.context.storage_state()


def state_of(browser: Browser, showroom: Showroom, name: str) -> StorageState:
    """The cookies of this person, who signs in when they have not yet."""
    if name not in showroom.states:
        context = browser.new_context()
        sign_in(context.new_page(), showroom, name)
        context.close()
    return showroom.states[name]


def named(address: str) -> str:
    """A file name for a page's address."""
    return re.sub(r"[^a-z0-9]+", "-", address.lower()).strip("-")[:80] or "overview"


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            _pause(process)
    raise RuntimeError(f"The service did not come:\n{log.read_text(errors='replace')[-4000:]}")


def _pause(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return


def _stop(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
