"""Owner, mode, times and special kinds of files: how they are put back and compared."""

from __future__ import annotations

import errno
import os
import stat

from engine.model import tree
from engine.model.tree import Node

_CAPABILITY = b"security.capability"
ATTRIBUTE_DIFFERS = "has another attribute"
_SET_IDS = stat.S_ISUID | stat.S_ISGID


def read_attributes(descriptor: int) -> dict[bytes, bytes]:
    """The extended attributes of an open file, ACLs and capabilities among them; none where there is no such thing.

    Raises OSError when they are there and cannot be read."""
    try:
        return {os.fsencode(name): os.getxattr(descriptor, name) for name in sorted(os.listxattr(descriptor))}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return {}
        raise


def _write_attributes(node: Node, descriptor: int, *, special: bool) -> list[str]:
    skipped = []
    for name, value in (node.extras or {}).get("x", {}).items():
        if name == _CAPABILITY and not special:
            skipped.append("capabilities were left out")
            continue
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            shown = name.decode("utf-8", "backslashreplace")
            skipped.append(f"the attribute {shown} was left out: {os.strerror(error.errno or 0).lower()}")
    return skipped


def apply(node: Node, descriptor: int, *, special: bool) -> list[str]:
    """Owner, mode, attributes and times of an open file or directory. Returns what could not be put back, in words.

    setuid, setgid and capabilities of files are put back only with `special`. Raises OSError."""
    skipped: list[str] = []
    if os.geteuid() == 0:  # only root can give files away
        os.fchown(descriptor, node.uid, node.gid)
    mode = node.mode
    if node.kind == tree.FILE and mode & _SET_IDS and not special:
        mode &= ~_SET_IDS
        skipped.append("setuid and setgid were left out")
    skipped += _write_attributes(node, descriptor, special=special)  # while the mode still lets us
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(node.mtime, node.mtime))
    return skipped


def make_special(node: Node, directory: int, *, special: bool) -> str:
    """Create a link, FIFO, socket or device. Returns why it was left out, or nothing. Raises OSError."""
    if node.kind == tree.SYMLINK:
        os.symlink(node.content, node.name, dir_fd=directory)
    elif node.kind == tree.FIFO:
        os.mkfifo(node.name, 0o600, dir_fd=directory)
    elif node.kind == tree.SOCKET:
        os.mknod(node.name, 0o600 | stat.S_IFSOCK, dir_fd=directory)
    elif not special:
        return "devices are restored only on request"
    else:
        kind = stat.S_IFCHR if node.kind == tree.CHARACTER else stat.S_IFBLK
        os.mknod(node.name, 0o600 | kind, os.makedev(*node.content), dir_fd=directory)
    if os.geteuid() == 0:
        os.chown(node.name, node.uid, node.gid, dir_fd=directory, follow_symlinks=False)
    if node.kind != tree.SYMLINK:
        os.chmod(node.name, node.mode, dir_fd=directory)
    os.utime(node.name, ns=(node.mtime, node.mtime), dir_fd=directory, follow_symlinks=False)
    return ""


def attribute_differences(node: Node, descriptor: int) -> list[str]:
    """Which extended attributes of an open file are not as stored, in words."""
    stored: dict[bytes, bytes] = (node.extras or {}).get("x", {})
    found = read_attributes(descriptor)
    names = sorted(name for name in stored.keys() | found.keys() if stored.get(name) != found.get(name))
    return [f"{ATTRIBUTE_DIFFERS} {name.decode('utf-8', 'backslashreplace')}" for name in names]


def differences(node: Node, status: os.stat_result) -> list[str]:
    """In which respects a restored entry is not what was stored, in words."""
    if tree.kind_of(status.st_mode) != node.kind:
        return ["is of another kind"]
    found = []
    if node.kind == tree.FILE and status.st_size != node.size:
        found.append(f"has {status.st_size} bytes instead of {node.size}")
    if node.kind != tree.SYMLINK and stat.S_IMODE(status.st_mode) | _SET_IDS != node.mode | _SET_IDS:
        found.append(f"has mode {stat.S_IMODE(status.st_mode):o} instead of {node.mode:o}")
    if status.st_mtime_ns != node.mtime:
        found.append("has another modification time")
    if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (node.uid, node.gid):
        found.append(f"belongs to {status.st_uid}:{status.st_gid} instead of {node.uid}:{node.gid}")
    return found
