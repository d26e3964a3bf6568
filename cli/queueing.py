"""Work that goes through the queue of a running service: found, asked for, followed to its end as if it ran here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cli.work import working

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.progress import CommandProgress
    from cli.state import Door
    from webapp.models import Run
    from webapp.services.work import Finished

LOOK_SECONDS = 0.3


def is_served(door: Door, queue: str, document: Mapping[str, Any] | None = None) -> bool:
    """Whether a worker of this installation serves the queue, with the same values for the variables that the document
    of a configuration names: it would else back up something else than what was meant here."""
    settings = door.settings
    if settings.redis_url is None:
        from webapp.embedded_redis import socket_path

        if not socket_path(settings).exists():
            return False  # looked at first, because importing what talks to Redis takes longer than most commands
    from webapp.errors import Unavailable
    from webapp.queue import opened

    try:
        with opened(settings) as connection:
            workers = connection.workers(queue)
    except Unavailable:
        return False
    if not workers:
        return False
    other = _differing(door, workers[0].environment, document)
    if other:
        door.tell(f"The service that runs has another {', '.join(other)}: working in this process.")
    return not other


def follow(door: Door, run: Run) -> Finished:
    """Waits for the run's end and tells what it tells. Ctrl-C cancels it, in order."""
    from engine.errors import Cancelled
    from webapp.errors import Conflict
    from webapp.services import run_lines, runs
    from webapp.services.work import Finished

    installation = door.installation
    position, asked = 0, False
    with working(door) as progress:
        progress.phase("Waiting for a worker")
        while True:
            now = runs.fetch(installation, run.id)
            for line in run_lines.after(installation, run.id, position):
                progress.say(line.text)
                position = line.position
            _advance(progress, now)
            if not now.is_active:
                break
            try:
                if not asked:
                    progress.checkpoint()
            except Cancelled:
                asked = True
                with _ended_meanwhile(Conflict):
                    runs.request_cancel(installation, run.public_id)
            threading.Event().wait(LOOK_SECONDS)
        problems = tuple((each.kind, each.path, each.reason) for each in runs.problems(installation, run.id))
        for problem in problems:
            progress.problem(*problem)
    return Finished(now, problems)


@contextmanager
def _ended_meanwhile(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind:
        return


def _advance(progress: CommandProgress, run: Run) -> None:
    if run.state == "running" and run.items == 0 and run.bytes_read == 0:
        progress.phase("Working")
    progress.advance(
        items=run.items - progress.items,
        read=run.bytes_read - progress.read,
        stored=run.bytes_stored - progress.stored,
    )


def _differing(door: Door, theirs: Mapping[str, str], document: Mapping[str, Any] | None) -> list[str]:
    """The variables that are set here, are needed by the configuration, and have another value there."""
    import json

    from webapp.fingerprints import fingerprints
    from webapp.schema import placeholders
    from webapp.schema.defaults import BUCKET_VARIABLE, DATABASE_VARIABLE, FOLDER_VARIABLES

    needed = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "HOLDFAST_PG_BIN", BUCKET_VARIABLE}
    if document is not None:
        needed.update(placeholders.names(json.dumps(document)))
        if not document.get("sources"):
            needed.update((DATABASE_VARIABLE, *FOLDER_VARIABLES))
    here = {name: value for name, value in door.settings.environment.items() if name in needed and value}
    return sorted(name for name, mark in fingerprints(door.settings, here).items() if theirs.get(name) != mark)
