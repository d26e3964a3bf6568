"""Two folders that change places: by one rename or by two, and put in order wherever that was cut short."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import TargetError
from engine.targets import replace_folder
from engine.targets.replace_folder import Swap, inode_of, settle, swap

_IN_A_CHILD = """
import sys
from pathlib import Path
from engine.targets.replace_folder import Swap, swap
target, incoming, outgoing = map(Path, sys.argv[1:4])
swap(Swap(target, incoming, outgoing, int(sys.argv[4]), int(sys.argv[5])))
"""


@pytest.fixture
def wanted(tmp_path: Path) -> Swap:
    target, incoming = tmp_path / "uploads", tmp_path / "incoming"
    for folder, text in ((target, "old"), (incoming, "new")):
        folder.mkdir()
        (folder / "what").write_text(text)
    new, old = inode_of(incoming), inode_of(target)
    assert new is not None
    assert old is not None
    return Swap(target, incoming, tmp_path / "outgoing", new, old)


def _stand(wanted: Swap) -> tuple[str, str]:
    """What stands at the target and at the kept name."""
    assert not wanted.incoming.exists()
    return (wanted.target / "what").read_text(), (wanted.outgoing / "what").read_text()


def test_names_change_places(wanted: Swap) -> None:
    assert not settle(wanted)
    swap(wanted)
    assert _stand(wanted) == ("new", "old")
    assert settle(wanted)


def test_where_two_names_cannot_be_exchanged_there_are_two_renames(wanted: Swap, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["strace", "-f", "-o", str(log), "-e", "trace=renameat2,rename", "-e", "inject=renameat2:error=EINVAL"]
    script = [sys.executable, "-c", _IN_A_CHILD, wanted.target, wanted.incoming, wanted.outgoing]
    subprocess.run([*command, *map(str, script), str(wanted.new), str(wanted.old)], check=True)
    assert "INJECTED" in log.read_text()
    assert _stand(wanted) == ("new", "old")


def test_between_the_two_renames_it_is_finished(wanted: Swap) -> None:
    wanted.target.rename(wanted.outgoing)
    assert settle(wanted)
    assert _stand(wanted) == ("new", "old")


def test_after_the_exchange_the_old_one_gets_its_name(wanted: Swap) -> None:
    wanted.target.rename(wanted.outgoing)
    wanted.incoming.rename(wanted.target)
    wanted.outgoing.rename(wanted.incoming)
    assert settle(wanted)
    assert _stand(wanted) == ("new", "old")


def test_a_stranger_at_the_target_is_not_touched(wanted: Swap) -> None:
    wanted.target.rename(wanted.outgoing)
    wanted.target.mkdir()
    with pytest.raises(TargetError, match="Something else was put"):
        settle(wanted)
    shutil.rmtree(wanted.target)
    (wanted.target).mkdir()
    assert wanted.incoming.exists()
    assert wanted.outgoing.exists()


def test_nothing_is_overwritten_by_what_goes_out(wanted: Swap) -> None:
    wanted.outgoing.mkdir()
    with pytest.raises(TargetError, match="is in the way"):
        swap(wanted)
    assert (wanted.target / "what").read_text() == "old"


def test_a_look_tells_every_change(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text("12345")

    def look() -> str:
        return replace_folder.look(folder, lambda: None).digest

    first = replace_folder.look(folder, lambda: None)
    assert (first.items, first.bytes) == (2, 5)
    assert look() == first.digest
    seen = {first.digest}
    file = folder / "sub" / "file"
    for change in (
        lambda: file.chmod(0o600),
        lambda: file.write_text("123456"),
        lambda: file.unlink(),
        lambda: file.symlink_to("x"),
        lambda: folder.chmod(0o700),
    ):
        change()
        assert look() not in seen
        seen.add(look())


def test_a_disk_without_room_is_refused_before_anything_is_made(wanted: Swap) -> None:
    replace_folder.refuse(wanted.target, 1)
    with pytest.raises(TargetError, match=r"bytes free; what is restored beside uploads needs 1000000000000000000\."):
        replace_folder.refuse(wanted.target, 10**18)


def test_what_is_mounted_below_is_never_moved_or_removed(tmp_path: Path) -> None:
    """A part of the same file system has the same device number, so only the system's list tells."""
    mounts = tmp_path / "mountinfo"
    for at, is_below in ((r"site/a\040b", True), ("site", False), ("sites", False)):
        mounts.write_text(f"36 35 98:0 /mnt {tmp_path}/{at} rw master:1 - ext4 /dev/root rw\n")
        if is_below:
            with pytest.raises(TargetError, match=r"is mounted at .*a b"):
                replace_folder.refuse_mounts(tmp_path / "site", mounts=mounts)
        else:
            replace_folder.refuse_mounts(tmp_path / "site", mounts=mounts)
