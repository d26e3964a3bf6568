"""A writer's session at a destination: others see that it is at work, and can take its rights away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import msgpack

from engine.errors import AlreadyExists, Fenced, NotFound, RepositoryError, StorageError
from engine.model.manifest import to_micros
from engine.repository import box, layout, reserve
from engine.repository.repository import Repository

RENEW_AFTER = timedelta(hours=1)
# What a process sent right before its end may still arrive at a bucket.
_ON_ITS_WAY = timedelta(minutes=15)


class Session:
    """Holds a session marker at one destination and renews it until it is ended. `process` is what its owner calls the
    process that it works in."""

    def __init__(
        self,
        repository: Repository,
        identity: bytes,
        config_id: str,
        clock: Callable[[], datetime],
        *,
        process: str = "",
        renew_after: timedelta = RENEW_AFTER,
    ) -> None:
        self.identity = identity
        self._repository = repository
        self._config_id = config_id
        self._process = process
        self._clock = clock
        self._started_at = clock()
        self._count = 0
        self._markers: set[str] = set()
        self._renew_after = renew_after
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="session", daemon=True)

    def start(self) -> None:
        """Write the marker, before anything else of the run. Raises StorageError."""
        self._mark()
        self._thread.start()

    def check_fence(self) -> None:
        """Raises Fenced when a pruner took this session for dead: then the run failed, whatever exists."""
        try:
            self._repository.storage.stat(layout.fence(self.identity))
        except NotFound:
            return
        raise Fenced("The run was taken for dead by a clean-up and does not count.", hint="Run the backup again.")

    def end(self) -> None:
        """Remove the marker; what cannot be removed expires by itself."""
        self._stop()
        self._remove(self._markers)

    def abandon(self) -> None:
        """Leave the marker to expire, as a kill would: of what is left of this session nobody could tell that it is
        dead, were the marker gone and no fence there."""
        self._stop()
        self._markers.clear()

    def _stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _renew(self) -> None:
        while not self._ended.wait(self._renew_after.total_seconds()):
            older = set(self._markers)
            self._count += 1
            try:
                self._mark()
            except StorageError:
                continue  # the next renewal tries again; should all fail, the fence decides at the end of the run
            self._remove(older)

    def _remove(self, markers: set[str]) -> None:
        for name in sorted(markers):
            with suppress(StorageError):
                self._repository.storage.delete(name)
                self._markers.discard(name)

    def _mark(self) -> None:
        plain = msgpack.packb(
            {
                "session": self.identity,
                "n": self._count,
                "configId": self._config_id,
                "process": self._process,
                "startedAt": to_micros(self._started_at),
                "renewedAt": to_micros(self._clock()),
            }
        )
        sealed = box.seal_box(self._repository.keyring, box.SESSION, plain, self._repository.suite)
        name = layout.session(self.identity, self._count)
        self._markers.add(name)  # before it is there: also a marker whose writing failed half-way is removed
        self._repository.storage.put(name, sealed)


def running(repository: Repository) -> dict[bytes, datetime]:
    """Sessions that were not ended and not fenced, with the storage's time of their last renewal."""
    found: dict[bytes, datetime] = {}
    for item, identity in layout.named(repository.storage.list(layout.SESSIONS), layout.ID_BYTES):
        found[identity] = max(item.modified_at, found.get(identity, item.modified_at))
    for fenced in repository.fenced_sessions():
        found.pop(fenced, None)
    return found


def end_dead(repository: Repository, config_id: str, *, is_gone: Callable[[str], bool], now: datetime) -> int:
    """End the sessions of a configuration whose process is gone for certain, as it would have done itself; how many.
    Nobody has to wait for them any more. What they committed counts, so they are not fenced. Raises StorageError."""
    markers: dict[bytes, list[str]] = {}
    for item, identity in layout.named(repository.storage.list(layout.SESSIONS), layout.ID_BYTES):
        markers.setdefault(identity, []).append(item.name)
    ended = 0
    for identity, renewed_at in running(repository).items():
        if renewed_at + _ON_ITS_WAY <= now and all(
            _is_of(repository, name, config_id, is_gone) for name in markers.get(identity, [""])
        ):
            for name in markers[identity]:
                with suppress(NotFound):
                    repository.storage.delete(name)
            ended += 1
    return ended


def _is_of(repository: Repository, name: str, config_id: str, is_gone: Callable[[str], bool]) -> bool:
    """Whether a marker is one of this configuration, by a process that is gone."""
    try:
        raw = msgpack.unpackb(box.open_box(repository.keyring, box.SESSION, repository.storage.get(name), name))
    except (NotFound, RepositoryError):
        return False
    process = raw.get("process")
    return raw["configId"] == config_id and bool(process) and is_gone(process)


def fence(repository: Repository, session: bytes, *, by: bytes, now: datetime, replace: bool = False) -> None:
    """Take a session's rights away: whatever it commits from now on is a failed run. A fence that is there stays,
    unless it is to be replaced. Raises StorageError."""
    plain = msgpack.packb({"session": session, "by": by, "at": to_micros(now)})
    sealed, name = box.seal_box(repository.keyring, box.FENCE, plain, repository.suite), layout.fence(session)
    with suppress(AlreadyExists):
        reserve.spend(repository.storage, lambda: repository.storage.put(name, sealed, create=not replace))
