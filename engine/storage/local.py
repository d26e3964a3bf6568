"""A repository in a folder of this machine. Every object is one file; nothing is ever half there."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from engine.errors import AccessDenied, AlreadyExists, NotFound, ShortRead, StorageError, Unavailable
from engine.ids import random_bytes
from engine.storage.base import Buffer, Item

TITLE = "Folder on this machine"
_TEMPORARY = "tmp"
_COPY_BYTES = 4 << 20
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Config:
    """Settings of a local destination."""

    path: str = field(metadata={"help": "Folder that holds the repository; relative paths are below HOLDFAST_HOME"})


def open_storage(config: Config, *, home: Path, environment: Mapping[str, str] | None = None) -> LocalStorage:
    """The storage that a destination's settings describe. `environment` is not used: a folder needs no credentials.

    Raises Unavailable as `folder_of`."""
    return LocalStorage(folder_of(config.path, home=home))


def folder_of(path: str, *, home: Path) -> Path:
    """The folder that a destination's `path` means. Raises Unavailable for the home of a user who does not exist."""
    try:
        return home / Path(path).expanduser()
    except RuntimeError:
        user = path.partition("/")[0].removeprefix("~")
        raise Unavailable(f"The folder {path} cannot be used: there is no user {user}.") from None


def _translated(
    method: Callable[Concatenate[LocalStorage, str, P], R],
) -> Callable[Concatenate[LocalStorage, str, P], R]:
    """Turn operating system errors into the storage's own, with one sentence for each."""

    def call(self: LocalStorage, name: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, name, *args, **kwargs)
        except OSError as error:
            raise self.explain(error, name) from error

    return call


class LocalStorage:
    """Files below one folder, written beside and linked into place, synced before anybody may rely on them."""

    requests_at_once = 1

    def __init__(self, root: Path) -> None:
        self.root = root

    def describe(self) -> str:
        return str(self.root)

    def close(self) -> None:
        pass

    def initialise(self) -> None:
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(self.root.parent)
        except OSError as error:
            raise self.explain(error, "") from error

    @_translated
    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        target = self._file(name)
        if create and target.exists():
            raise AlreadyExists(f"{name} exists at {self.describe()} already.")
        self._make_parents(target.parent)
        with self._staged(data) as staged:
            if create:
                self._publish(staged, target, name)
            else:
                staged.rename(target)
        _sync_folder(target.parent)

    @_translated
    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with open(self._file(name), "rb", buffering=0, opener=_read_opener) as file:
            wanted = os.fstat(file.fileno()).st_size - offset if length is None else length
            pieces, have = [], 0
            while have < wanted:
                piece = os.pread(file.fileno(), wanted - have, offset + have)
                if not piece:
                    raise ShortRead(f"{name} at {self.describe()} ends after {offset + have} bytes.")
                pieces.append(piece)
                have += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @_translated
    def stat(self, name: str) -> Item:
        return _item(name, self._file(name).stat())

    @_translated
    def delete(self, name: str) -> None:
        self._file(name).unlink()
        _sync_folder(self._file(name).parent)

    @_translated
    def move(self, name: str, to: str) -> None:
        source, target = self._file(name), self._file(to)
        source.lstat()  # a missing source is told before a folder is made for it
        self._make_parents(target.parent)
        self._publish(source, target, to)
        _sync_folder(target.parent)
        source.unlink(missing_ok=True)  # a rename left nothing there
        _sync_folder(source.parent)

    def list(self, prefix: str) -> Iterator[Item]:
        self._check_root()
        folder = prefix.rstrip("/")
        try:
            with os.scandir(self.root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self.explain(error, prefix) from error
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self.list(name)
            else:
                with suppress(FileNotFoundError):  # deleted since it was listed
                    yield _item(name, entry.stat(follow_symlinks=False))

    def sweep(self) -> None:
        """Remove what killed writers left in the temporary folder; living ones hold a lock on theirs."""
        with suppress(FileNotFoundError, PermissionError):
            for leftover in (self.root / _TEMPORARY).iterdir():
                _remove_unlocked(leftover)

    def explain(self, error: OSError, name: str) -> StorageError:
        """The storage error for an operating system error."""
        place = self.describe()
        code = error.errno or 0
        if isinstance(error, FileNotFoundError):
            if self.root.is_dir():
                return NotFound(f"{name} does not exist at {place}.")
            return Unavailable(f"The folder {place} is not there.", hint="Is its disk mounted?")
        if isinstance(error, FileExistsError) and self.root.is_dir():
            return AlreadyExists(f"{name} exists at {place} already.")
        if isinstance(error, (NotADirectoryError, FileExistsError)):
            return Unavailable(f"{place} is not a folder.", hint="Choose another path for this destination.")
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            return AccessDenied(
                f"{place} may not be used: {os.strerror(code)}.", hint="Check its owner, mode and mount."
            )
        if code in (errno.ENOSPC, errno.EDQUOT):
            return Unavailable(f"{place} is full.", hint="Free some space or run `backup-cli cleanup`, then try again.")
        return Unavailable(f"{place} failed: {os.strerror(code)} ({name}).", hint="Check the disk.")

    def _file(self, name: str) -> Path:
        parts = name.split("/")
        if not all(parts) or any(part.startswith(".") for part in parts):
            raise ValueError(f"not a name of an object: {name!r}")
        return self.root.joinpath(*parts)

    def _check_root(self) -> None:
        if not self.root.is_dir():
            raise self.explain(FileNotFoundError() if not self.root.exists() else NotADirectoryError(), "")

    def _make_parents(self, folder: Path) -> None:
        """Folders below the root only: a root that vanished is never made anew."""
        if folder == self.root or folder.is_dir():
            return
        self._make_parents(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _sync_folder(folder.parent)

    @contextmanager
    def _staged(self, data: Buffer | Path) -> Iterator[Path]:
        """A synced temporary file that holds `data`, locked so that no sweep takes it for a leftover."""
        staged = self.root / _TEMPORARY / random_bytes(16).hex()
        self._make_parents(staged.parent)
        descriptor = self._stage_link(staged, data) if isinstance(data, Path) else None
        if descriptor is None:
            descriptor = _create_locked(staged)
        try:
            if os.fstat(descriptor).st_size == 0:
                _fill(descriptor, data)
            os.fsync(descriptor)
            yield staged
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                staged.unlink()

    def _stage_link(self, staged: Path, data: Path) -> int | None:
        """A second link to our file on the same file system, which saves copying it; None where that cannot be."""
        descriptor = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink > 1:
                # Another destination on this disk has it: two copies must not be the same blocks.
                os.close(descriptor)
                return None
            os.link(data, staged)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _publish(self, staged: Path, target: Path, name: str) -> None:
        try:
            os.link(staged, target)
        except FileExistsError:
            raise AlreadyExists(f"{name} exists at {self.describe()} already.") from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # A file system without links: names are random or content hashes, so two writers cannot want the same one.
            staged.rename(target)


def _item(name: str, status: os.stat_result) -> Item:
    return Item(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _read_opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _write_all(descriptor: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _fill(descriptor: int, data: Buffer | Path) -> None:
    if not isinstance(data, Path):
        _write_all(descriptor, data)
        return
    with data.open("rb", buffering=0) as source:
        while piece := source.read(_COPY_BYTES):
            _write_all(descriptor, piece)


def _create_locked(path: Path) -> int:
    """A new empty file with our lock on it; made again when a sweep was quicker than the lock."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_unlocked(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # gone, or nothing of ours
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError:
        return  # somebody is at work with it, or it is gone
    finally:
        os.close(descriptor)


def free_bytes(root: Path) -> int:
    """Free space for us on the file system of `root`, in bytes."""
    return shutil.disk_usage(root).free
