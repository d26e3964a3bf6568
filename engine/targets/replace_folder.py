"""A folder put in the place of another on the same file system: looked at, swapped by one rename, put in order after a
kill. Who is who is told by inode numbers, so at every moment it can be told whether the swap has happened."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.errors import TargetError
from engine.metadata import read_attributes

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Mount points are in the fifth field, with blanks and the like as octal numbers (proc(5)).
_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(rb"\\([0-7]{3})")
# What says who may use a folder, beside owner and mode.
_RIGHTS = (b"system.posix_acl_access", b"system.posix_acl_default", b"security.selinux")


@dataclass(frozen=True)
class FolderState:
    """What stands in a folder: `items` below it, `bytes` of its files, `newest_ns` the latest modification (ns since
    1970); `digest` (64 hex digits) changes with any name, size, time, mode or inode number."""

    inode: int
    items: int
    bytes: int
    newest_ns: int
    digest: str


@dataclass(frozen=True)
class Swap:
    """`incoming` shall stand at `target`, and what stands there now at `outgoing`; all in one parent folder. `new` and
    `old` are the inode numbers of the two folders."""

    target: Path
    incoming: Path
    outgoing: Path
    new: int
    old: int


def refuse(path: Path, needed_bytes: int) -> None:
    """Raises TargetError unless the folder can be replaced, and there is room for `needed_bytes` beside it."""
    try:
        status, above = path.lstat(), path.parent.stat()
    except FileNotFoundError:
        raise TargetError(
            f"There is no folder {path} that could be replaced.", hint="Restore without --replace, to a new place."
        ) from None
    except OSError as error:
        raise TargetError(f"{path} cannot be looked at: {os.strerror(error.errno or 0).lower()}.") from None
    if stat.S_ISLNK(status.st_mode):
        raise TargetError(f"{path} is a symbolic link.", hint="Name the folder that it leads to.")
    if not stat.S_ISDIR(status.st_mode):
        raise TargetError(f"{path} is not a folder.", hint="Only whole folders and databases can be replaced.")
    if os.path.ismount(path) or status.st_dev != above.st_dev:
        raise TargetError(
            f"{path} is a mount point: it cannot be swapped by a rename.",
            hint="Replace the folders in it one by one (--only), or restore beside it.",
        )
    if os.geteuid() != 0 and status.st_uid != os.geteuid():
        raise TargetError(f"{path} belongs to another user, whom it must stay with.", hint="Restore as root.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise TargetError(f"{path.parent} does not let us write: {path} cannot be swapped.")
    room = os.statvfs(path.parent)
    free = room.f_bavail * room.f_frsize
    if free < needed_bytes:
        raise TargetError(
            f"{path.parent} has {free} bytes free; what is restored beside {path.name} needs {needed_bytes}.",
            hint="Free some space; the old folder is kept for a while too.",
        )


def refuse_mounts(path: Path, *, mounts: Path = _MOUNTS) -> None:
    """Raises TargetError when something is mounted below a folder, also a part of its own file system: it would be
    moved along with the folder, and removed with it. `mounts` is a list as in proc(5)."""
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return  # no such list here; `look` still sees other file systems
    real = path.resolve()
    for line in lines:
        at = Path(os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4])))
        if real in at.parents:
            raise TargetError(f"Another file system is mounted at {at}.", hint="Unmount it, then try again.")


def look(path: Path, checkpoint: Callable[[], None]) -> FolderState:
    """Reads every name below the folder, no contents; links are not followed. Raises TargetError when that cannot be
    done, or when something else is mounted below, which a swap would take away."""
    refuse_mounts(path)
    digest = hashlib.sha256()
    items = size = newest = 0
    stack: list[tuple[int, list[str]]] = []
    try:
        root = os.open(path, _FOLDER_FLAGS)
        own = os.fstat(root)
        stack.append((root, sorted(os.listdir(root), reverse=True)))
        while stack:
            here, names = stack[-1]
            if not names:
                os.close(here)
                stack.pop()
                digest.update(b"\0")
                continue
            checkpoint()
            name = names.pop()
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
            if found.st_dev != own.st_dev:
                raise TargetError(
                    f"Another file system is mounted below {path}, at {name}.", hint="Unmount it, then try again."
                )
            fields = (name, found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)
            digest.update(repr(fields).encode("utf-8", "surrogateescape"))
            items, newest = items + 1, max(newest, found.st_mtime_ns)
            if stat.S_ISDIR(found.st_mode):
                below = os.open(name, _FOLDER_FLAGS, dir_fd=here)
                stack.append((below, sorted(os.listdir(below), reverse=True)))
            elif stat.S_ISREG(found.st_mode):
                size += found.st_size
        digest.update(repr((own.st_ino, own.st_mode, own.st_uid, own.st_gid)).encode())
        return FolderState(own.st_ino, items, size, max(newest, own.st_mtime_ns), digest.hexdigest())
    except OSError as error:
        what = os.strerror(error.errno or 0).lower()
        raise TargetError(f"{path} cannot be looked at: {what}.", hint="Is it being written to now?") from error
    finally:
        for here, _ in stack:
            os.close(here)


def inode_of(path: Path) -> int | None:
    """The inode number of what stands at a path, links not followed; None when nothing does."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def take_over_rights(old: Path, new: Path) -> None:
    """Gives the new folder owner, mode and access list of the old one. Raises TargetError."""
    try:
        status = old.stat()
        present = new.stat()
        if (present.st_uid, present.st_gid) != (status.st_uid, status.st_gid):
            os.chown(new, status.st_uid, status.st_gid)
        descriptor = os.open(old, _FOLDER_FLAGS)
        try:
            attributes = read_attributes(descriptor)
        finally:
            os.close(descriptor)
        for name in _RIGHTS:
            if name in attributes:
                os.setxattr(new, name, attributes[name])
            else:
                with suppress(OSError):  # it has none either
                    os.removexattr(new, name)
        new.chmod(stat.S_IMODE(status.st_mode))
    except OSError as error:
        what = os.strerror(error.errno or 0).lower()
        raise TargetError(f"Owner and mode of {old} cannot be kept: {what}.", hint="Restore as root.") from error


def swap(wanted: Swap) -> None:
    """Swaps. With RENAME_EXCHANGE something stands at the target at every moment; where that does not exist, between
    two renames nothing does. Raises TargetError, and then nothing has changed, or `settle` puts it in order."""
    if os.path.lexists(wanted.outgoing):
        raise TargetError(f"{wanted.outgoing} is in the way.", hint="Move it elsewhere.")
    refuse_mounts(wanted.target)
    try:
        sync(wanted.incoming)
        if _exchange(wanted.incoming, wanted.target):
            os.rename(wanted.incoming, wanted.outgoing)
        else:
            os.rename(wanted.target, wanted.outgoing)
            try:
                os.rename(wanted.incoming, wanted.target)
            except OSError:  # it was withdrawn: nothing standing there would be the worst of all
                os.rename(wanted.outgoing, wanted.target)
                raise
        sync(wanted.target.parent)
    except OSError as error:
        what = os.strerror(error.errno or 0).lower()
        raise TargetError(f"{wanted.target} could not be replaced: {what}.") from error


def settle(wanted: Swap) -> bool:
    """Puts a swap in order that may have been cut short: finished when it had begun. Whether it has happened. May be
    called again and again. Raises TargetError when somebody else changed the folders meanwhile; then nothing is
    touched."""
    target, incoming, outgoing = (inode_of(path) for path in (wanted.target, wanted.incoming, wanted.outgoing))
    try:
        if target == wanted.old:
            return False
        if target == wanted.new and incoming == wanted.old and outgoing is None:
            os.rename(wanted.incoming, wanted.outgoing)
            outgoing = wanted.old
        elif target is None and incoming == wanted.new and outgoing == wanted.old:
            os.rename(wanted.incoming, wanted.target)
            target = wanted.new
        sync(wanted.target.parent)
    except OSError as error:
        raise TargetError(
            f"{wanted.target} cannot be put in order: {os.strerror(error.errno or 0).lower()}."
        ) from error
    if target == wanted.new and outgoing == wanted.old:
        return True
    raise TargetError(
        f"Something else was put at {wanted.target} while it was being replaced.",
        hint=f"Look at {wanted.incoming} and {wanted.outgoing}, and put the right one there yourself.",
    )


def withdraw(wanted: Swap, aside: Path) -> None:
    """Takes `incoming` away, to `aside`, so that a swap which has not happened cannot happen any more, whoever was
    about to do it; one that has happened, or begun, stays as `settle` then finds it. May be called again and again.
    Raises TargetError."""
    try:
        if inode_of(aside) is None:
            with suppress(FileNotFoundError):
                os.rename(wanted.incoming, aside)
        found = inode_of(aside)
        if found == wanted.old:  # both had changed places just now
            os.rename(aside, wanted.outgoing)
        elif found == wanted.new and inode_of(wanted.target) is None and inode_of(wanted.outgoing) == wanted.old:
            os.rename(aside, wanted.target)
        sync(wanted.target.parent)
    except OSError as error:
        raise TargetError(f"{wanted.incoming} cannot be moved: {os.strerror(error.errno or 0).lower()}.") from error


def sync(folder: Path) -> None:
    """What lies on the folder's file system is on its disk, the folder's names too. Raises OSError."""
    descriptor = os.open(folder, _FOLDER_FLAGS)
    try:
        os.fsync(descriptor)
        with suppress(AttributeError):  # another C library
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
                raise OSError(ctypes.get_errno(), "syncfs failed")
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Both names change places at once. False, and nothing is changed, where system or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if not renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))
