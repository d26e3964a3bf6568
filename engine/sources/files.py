"""Folders as a source: a walk that follows no link, holds directories by descriptor and reports what it cannot read."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from engine import metadata
from engine.errors import SourceError
from engine.model import tree
from engine.model.tree import Node
from engine.progress import Progress

TITLE = "Folder"
_CACHE_TAG, _CACHE_SIGNATURE = b"CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55"
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Ancestors that keep their descriptor; those above are reached again from the top.
_OPEN_ANCESTORS = 128
_BLOCK_BYTES = 512
_FRONT_BYTES = 256 << 10


@dataclass(frozen=True)
class Config:
    """Settings of a folder to back up."""

    path: str = field(metadata={"help": "Absolute path of the folder"})
    exclude: tuple[str, ...] = field(default=(), metadata={"help": "Patterns as in .gitignore, relative to the folder"})
    exclude_file: str | None = field(default=None, metadata={"help": "File with such patterns, one a line"})
    one_file_system: bool = field(default=False, metadata={"help": "Do not descend into other file systems"})


class Enter(NamedTuple):
    """A directory begins; its entries and subdirectories follow, then its Leave."""

    node: Node


class Found(NamedTuple):
    """An entry that is no directory."""

    node: Node
    directory: int
    path: bytes


class Leave(NamedTuple):
    """A directory is complete."""


Event = Enter | Found | Leave
Known = Callable[[bytes, os.stat_result], bool]


@dataclass
class _Level:
    """A directory on the way down: its names still to visit and where it is."""

    path: bytes
    descriptor: int | None
    identity: tuple[int, int]
    names: Iterator[bytes]


class FilesSource:
    """One folder with everything below it, but for the folders in `skip`, those that this very backup writes to, and
    for what has one of the paths in `elsewhere`, whether it is there yet or not: what it stores in another way."""

    def __init__(self, config: Config, *, skip: Collection[Path] = (), elsewhere: Collection[Path] = ()) -> None:
        self.config = config
        self._skip = skip
        self._elsewhere = elsewhere
        self._skipped: set[tuple[int, int]] = set()
        self._skipped_names: set[tuple[tuple[int, int], bytes]] = set()
        # A path may begin with two slashes (POSIX); Linux means the same by it as by one.
        self.root = b"/" + os.fsencode(os.path.abspath(Path(config.path).expanduser())).lstrip(b"/")

    def describe(self) -> str:
        """The folder's path."""
        return os.fsdecode(self.root)

    def probe(self) -> None:
        """Raises SourceError when the folder cannot be read at all."""
        os.close(self._open_root())

    def walk(self, progress: Progress, *, known: Known | None = None) -> Iterator[Event]:
        """The folder itself as Enter, all below it in the order of names, and its Leave. Raises SourceError.

        `known` is asked about each entry that is no directory, by name and status; if it says yes, nothing more is told
        of it. It belongs to the directory that was entered last and not left."""
        excluded = _compile(self.config)
        self._skipped = {identity for path in self._skip if (identity := _identity(path))}
        self._skipped_names = {
            (identity, os.fsencode(path.name)) for path in self._elsewhere if (identity := _identity(path.parent))
        }
        descriptor = self._open_root()
        status = os.fstat(descriptor)
        levels = [_Level(self.root, descriptor, (status.st_dev, status.st_ino), iter(()))]
        try:
            levels[0].names = _names(descriptor)
            yield Enter(_with_attributes(_node(b"", status), levels[0], progress))
            while levels:
                yield from self._step(levels, status.st_dev, excluded, known, progress)
        finally:
            for level in levels:
                if level.descriptor is not None:
                    os.close(level.descriptor)

    def _step(
        self,
        levels: list[_Level],
        device: int,
        excluded: Callable[[str], bool] | None,
        known: Known | None,
        progress: Progress,
    ) -> Iterator[Event]:
        """The rest of the innermost directory, up to its next subdirectory."""
        level = levels[-1]
        assert level.descriptor is not None
        for name in level.names:
            path = level.path + b"/" + name
            try:
                status = os.stat(name, dir_fd=level.descriptor, follow_symlinks=False)
            except OSError as error:
                progress.problem("file", _shown(path), reason(error))
                continue
            is_directory = stat.S_ISDIR(status.st_mode)
            if excluded and excluded(_shown(path[len(self.root) + 1 :]) + ("/" if is_directory else "")):
                continue
            if (status.st_dev, status.st_ino) in self._skipped or (level.identity, name) in self._skipped_names:
                continue
            if not is_directory:
                if known is None or not known(name, status):
                    yield _found(name, status, level.descriptor, path)
            elif (below := self._descend(levels, name, path, status, progress)) is not None:
                yield Enter(_with_attributes(_node(name, status), below, progress))
                if self.config.one_file_system and status.st_dev != device:
                    below.names = iter(())
                levels.append(below)
                return
        os.close(level.descriptor)
        level.descriptor = None
        yield Leave()
        if len(levels) > 1:
            self._reopen(levels[-2], level)
        levels.pop()

    def _descend(
        self, levels: list[_Level], name: bytes, path: bytes, status: os.stat_result, progress: Progress
    ) -> _Level | None:
        parent = levels[-1].descriptor
        try:
            descriptor = os.open(name, _OPEN_FLAGS | os.O_DIRECTORY, dir_fd=parent)
        except OSError as error:
            progress.problem("file", _shown(path), reason(error))
            return None
        try:
            names = _names(descriptor)
        except OSError as error:
            os.close(descriptor)
            progress.problem("file", _shown(path), reason(error))
            return None
        if len(levels) >= _OPEN_ANCESTORS and (far := levels[-_OPEN_ANCESTORS]).descriptor is not None:
            os.close(far.descriptor)
            far.descriptor = None
        return _Level(path, descriptor, (status.st_dev, status.st_ino), names)

    def _reopen(self, parent: _Level, child: _Level) -> None:
        """Give a far ancestor its descriptor back. The walk cannot go on when the tree was moved meanwhile."""
        if parent.descriptor is None:
            parent.descriptor = self._open_path(parent.path)
            status = os.fstat(parent.descriptor)
            if (status.st_dev, status.st_ino) != parent.identity:
                raise SourceError(f"{_shown(parent.path)} was moved while it was read.", hint="Run the backup again.")

    def _open_path(self, path: bytes) -> int:
        """A directory below the root, reached step by step, so that no link is followed and no path is too long."""
        descriptor = self._open_root()
        try:
            for name in filter(None, path[len(self.root) + 1 :].split(b"/")):
                below = os.open(name, _OPEN_FLAGS | os.O_DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
        except OSError as error:
            os.close(descriptor)
            raise SourceError(f"{_shown(path)} was moved while it was read.", hint="Run the backup again.") from error
        return descriptor

    def _open_root(self) -> int:
        try:
            return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SourceError(f"The folder {self.describe()} does not exist.", hint="Is its disk mounted?") from None
        except NotADirectoryError:
            raise SourceError(f"{self.describe()} is not a folder.", hint="Give the folder that holds it.") from None
        except OSError as error:
            raise SourceError(f"The folder {self.describe()} cannot be read: {reason(error)}.") from error


def open_file(found: Found) -> int:
    """A descriptor of a regular file, not updating its access time where that is allowed. Raises OSError."""
    flags = _OPEN_FLAGS
    if hasattr(os, "O_NOATIME"):
        try:
            return os.open(found.node.name, flags | os.O_NOATIME, dir_fd=found.directory)
        except PermissionError:
            pass
    return os.open(found.node.name, flags, dir_fd=found.directory)


def will_need(file: int) -> None:
    """Ask the system to fetch the front of a file, as much as a small one has, before it is read."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, _FRONT_BYTES, os.POSIX_FADV_WILLNEED)


Holes = tuple[tuple[int, int], ...]


class Extent:
    """The bytes of a file from `start` to `end`, as a reader."""

    def __init__(self, file: int, start: int, end: int) -> None:
        self._file = file
        self._position = start
        self._end = end

    def readinto(self, buffer: memoryview, /) -> int:
        """As Reader; 0 also when the file was cut meanwhile."""
        count = os.preadv(self._file, [buffer[: self._end - self._position]], self._position)
        self._position += count
        return count


def holes(file: int, status: os.stat_result) -> Holes:
    """The holes of a sparse file as (offset, length) in bytes; none for a file that fills its blocks."""
    size = status.st_size
    if status.st_blocks * _BLOCK_BYTES >= size:
        return ()
    found, position = [], 0
    while position < size:
        try:
            data = os.lseek(file, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a file system that cannot tell
                return ()
            data = size
        if data > position:
            found.append((position, min(data, size) - position))
        position = os.lseek(file, data, os.SEEK_HOLE) if data < size else size
    os.lseek(file, 0, os.SEEK_SET)
    return tuple(found)


def _names(descriptor: int) -> Iterator[bytes]:
    names = sorted(os.fsencode(name) for name in os.listdir(descriptor))
    if _CACHE_TAG in names and _is_cache(descriptor):
        return iter([_CACHE_TAG])
    return iter(names)


def _is_cache(directory: int) -> bool:
    """Whether a directory is marked as a cache (bford.info/cachedir)."""
    try:
        descriptor = os.open(_CACHE_TAG, _OPEN_FLAGS, dir_fd=directory)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(_CACHE_SIGNATURE)) == _CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _found(name: bytes, status: os.stat_result, directory: int, path: bytes) -> Found:
    node = _node(name, status)
    several = status.st_nlink > 1
    if several and node.kind == tree.FILE:
        return Found(node._replace(extras={"l": (status.st_dev, status.st_ino)}), directory, path)
    if node.kind == tree.SYMLINK:
        try:
            node = node._replace(content=os.readlink(name, dir_fd=directory))
        except OSError:
            node = node._replace(content=b"")
    elif node.kind in (tree.CHARACTER, tree.BLOCK):
        node = node._replace(content=(os.major(status.st_rdev), os.minor(status.st_rdev)))
    return Found(node, directory, path)


def _with_attributes(node: Node, level: _Level, progress: Progress) -> Node:
    assert level.descriptor is not None
    try:
        attributes = metadata.read_attributes(level.descriptor)
    except OSError as error:
        progress.problem("attribute", _shown(level.path), f"its attributes were not stored: {reason(error)}")
        return node
    return node._replace(extras={"x": attributes}) if attributes else node


def _node(name: bytes, status: os.stat_result) -> Node:
    kind = tree.kind_of(status.st_mode)
    size = status.st_size if kind == tree.FILE else 0
    return Node(
        kind,
        name,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    )


def _compile(config: Config) -> Callable[[str], bool] | None:
    """A test of paths relative to the folder, where directories end with a slash; None when nothing is excluded."""
    patterns = list(config.exclude)
    if config.exclude_file:
        try:
            patterns += Path(config.exclude_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"The exclude file {config.exclude_file} cannot be read.", hint=str(error)) from error
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec  # most folders exclude nothing

    try:
        return GitIgnoreSpec.from_lines(patterns).match_file
    except (ValueError, re.error) as error:
        raise SourceError(f"An exclude pattern of {config.path} is not valid: {error}.") from error


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _shown(path: bytes) -> str:
    return os.fsdecode(path)


def reason(error: OSError) -> str:
    """Why a file could not be read, in a few words."""
    if error.errno == errno.ENOENT:
        return "vanished while the folder was read"
    return os.strerror(error.errno or 0).lower()
