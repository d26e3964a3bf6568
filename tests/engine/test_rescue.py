"""The rescue program brings everything back where nothing of this project is installed, and harms nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from pathlib import Path

import msgpack
import pytest

from engine import compress, crypto, keyring, rescue
from engine.ids import spell
from engine.model import tree
from engine.model.manifest import FilesRoot, StreamRoot
from engine.model.tree import Node
from engine.repository import box, forget, guide, layout
from engine.repository.repository import Repository
from tests.support.bare import FOR_S3, PACKAGES, BareMachine
from tests.support.command import Outcome
from tests.support.packs import DATA, TREE, Blob, commit, store
from tests.support.repositories import SECRET, Bench
from tests.support.s3 import Store
from tests.support.trees import make_tree, snapshot, write_file

PROGRAM = Path(rescue.__file__)


class Rescue:
    """The program of this checkout on a bare machine, for one repository, with its key."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.bare = BareMachine(folder)
        self.place = place
        self.key = folder / "key"
        self.key.write_text(SECRET.hex() + "\n")
        self.out = folder / "out"

    def __call__(self, what: str, *arguments: str | Path, code: int, input: str = "") -> Outcome:
        key = () if {"--key-file", "--recovery-code"} & set(arguments) else ("--key-file", self.key)
        outcome = self.bare(PROGRAM, what, "--repository", self.place, *key, *arguments, input=input)
        assert outcome.code == code, outcome
        assert "Traceback" not in outcome.stderr, outcome
        return outcome

    def restore(self, *arguments: str | Path, code: int = 0) -> Path:
        shutil.rmtree(self.out, ignore_errors=True)
        self("restore", "--to", self.out, *arguments, code=code)
        return self.out


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.create()
    return made


@pytest.fixture
def run(tmp_path: Path, bench: Bench) -> Rescue:
    return Rescue(tmp_path, bench.place)


def below(out: Path, source: Path, config_id: str = "test") -> Path:
    return out / config_id / str(source).lstrip("/")


@pytest.mark.parametrize("codec", compress.CODECS)
@pytest.mark.parametrize("suite", crypto.SUITES)
def test_everything_comes_back(bench: Bench, run: Rescue, tmp_path: Path, seed: int, suite: str, codec: str) -> None:
    make_tree(tmp_path / "source", random.Random(seed))
    bench.backup(tmp_path / "source", suite=crypto.SUITES[suite], codec=compress.CODECS[codec])
    assert snapshot(below(run.restore("--special"), tmp_path / "source")) == snapshot(tmp_path / "source")
    assert "0 problems" in run("check", code=0).stdout


def test_holes_links_attributes_deep_trees_and_long_lists(
    bench: Bench, run: Rescue, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.repository.writer._INLINE_ENTRIES", 2)
    source = tmp_path / "source"
    deep = source.joinpath(*["d" * 40] * 60)
    os.makedirs(deep)
    (deep / "leaf").write_text("deep")
    with open(source / "sparse", "wb") as file:
        file.write(b"a" * 70_000)
        file.seek(40 << 20)
        file.write(b"b" * 70_000)
        file.truncate(80 << 20)
    write_file(source / "large", random.Random(seed), 30 << 20)
    os.setxattr(source / "large", "user.note", b"\x00\xff")
    bench.backup(source)
    found = below(run.restore("--special"), source)
    assert snapshot(found) == snapshot(source)
    assert (found / "sparse").stat().st_blocks == (source / "sparse").stat().st_blocks
    assert os.getxattr(found / "large", "user.note") == b"\x00\xff"


def test_the_newest_of_each_configuration_and_any_other_by_its_id(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    ids = {}
    for number in range(3):
        (source / "file").write_text(f"state {number}")
        ids[number] = bench.backup(source, config_id="shop").manifest.id
    bench.backup(source, config_id="other")
    listed = run("list", code=0).stdout.splitlines()
    assert [line.split()[2] for line in listed] == ["other", "shop", "shop", "shop"]
    spelled = {number: next(line.split()[0] for line in listed if _is(line, id)) for number, id in ids.items()}
    out = run.restore()
    assert {path.name for path in out.iterdir()} == {"shop", "other"}
    assert (below(out, source, "shop") / "file").read_text() == "state 2"
    assert (below(run.restore("--backup", spelled[0][:12]), source, "shop") / "file").read_text() == "state 0"
    repository = bench.open()
    forget.forget(repository, ids[2], reason="test", now=bench.clock())
    repository.storage.put(layout.fence(repository.read_manifest(ids[1]).manifest.session), b"fence")
    assert (below(run.restore("--backup", "shop@latest"), source, "shop") / "file").read_text() == "state 0"
    assert (below(run.restore("--backup", spelled[2]), source, "shop") / "file").read_text() == "state 2"
    assert "in the trash" in run("list", code=0).stdout
    run("restore", "--backup", "bk_nothing", "--to", tmp_path / "none", code=10)
    assert not (tmp_path / "none").exists()


def test_with_json_each_answer_is_one_document(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    write_file(tmp_path / "source" / "file", random.Random(1), 4)
    bench.backup(tmp_path / "source")
    (point,) = json.loads(run("list", "--json", code=0).stdout)["restorePoints"]
    assert json.loads(run("check", "--json", code=0).stdout)["backupsChecked"] == 1
    answer = run("restore", "--json", "--backup", point["name"], "--to", tmp_path / "out", code=0)
    assert json.loads(answer.stdout) == {"files": 1, "bytes": 4, "problems": []}


def test_differences_of_any_depth(bench: Bench, run: Rescue, seed: int) -> None:
    repository, rng = bench.open(), random.Random(seed)
    plains = [rng.randbytes(400_000)]
    for _ in range(4):
        changed = bytearray(plains[-1])
        changed[rng.randrange(len(changed))] ^= 1
        plains.append(bytes(changed))
    first = Blob(DATA, plains[0])
    others = [
        Blob(DATA, plain, base, depth) for depth, (plain, base) in enumerate(zip(plains[1:], plains, strict=False), 1)
    ]
    ids = [*store(repository, *others[:2], first), *store(repository, *others[2:], indexed=False)]
    order = [2, 0, 1, 3, 4]
    entries = b"".join(
        ids[at] + len(plain).to_bytes(4, "little") + bytes(8) for at, plain in zip(order, plains, strict=True)
    )
    commit(repository, StreamRoot("postgres", "shop", sum(map(len, plains)), (2, entries), {}))
    assert (run.restore() / "test" / "shop.dump").read_bytes() == b"".join(plains)
    assert "0 problems" in run("check", code=0).stdout


def test_a_difference_without_its_base_is_damage(bench: Bench, run: Rescue) -> None:
    repository = bench.open()
    (id,) = store(repository, Blob(DATA, b"new" * 1000, b"old" * 1000, 1))
    commit(repository, StreamRoot("postgres", "shop", 3000, (2, id + (3000).to_bytes(4, "little") + bytes(8)), {}))
    assert "is in no pack" in run("check", code=6).stderr
    assert not list((run.restore(code=1) / "test").iterdir())


@pytest.mark.parametrize("nonsense", [{"roots": 7}, {"finishedAt": 1 << 62}, {"sequence": "x"}, {"id": None}], ids=str)
def test_a_record_that_makes_no_sense_does_not_keep_the_others(
    bench: Bench, run: Rescue, tmp_path: Path, nonsense: dict[str, object]
) -> None:
    (tmp_path / "source").mkdir()
    write_file(tmp_path / "source" / "file", random.Random(1), 4)
    good, bad = (bench.backup(tmp_path / "source", parent=None).manifest.id for _ in range(2))
    path = bench.place / layout.manifest(bad)
    raw = msgpack.unpackb(box.open_box(bench.keyring, box.MANIFEST, path.read_bytes(), ""), strict_map_key=False)
    path.write_bytes(box.seal_box(bench.keyring, box.MANIFEST, msgpack.packb(raw | nonsense), 1))
    outcome = run("list", "--json", code=6)
    assert [point["name"] for point in json.loads(outcome.stdout)["restorePoints"]] == [spell("bk", good)]
    assert f"{layout.manifest(bad)}: its record makes no sense" in outcome.stderr
    run("check", code=6)


def test_databases_get_names_of_their_own(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as made:
        made.execute("CREATE TABLE sales (amount)")
    content = (tmp_path / "shop.sqlite").read_bytes()
    repository = bench.open()
    (id,) = store(repository, Blob(DATA, content))
    stored = (2, id + len(content).to_bytes(4, "little") + bytes(8))
    names = [("sqlite", "/srv/a/shop.sqlite"), ("sqlite", "/srv/b/shop.sqlite"), ("postgres", "../../evil")]
    commit(repository, *(StreamRoot(kind, name, len(content), stored, {}) for kind, name in names))
    found = sorted(path.name for path in (run.restore() / "test").iterdir())
    assert found == [".._.._evil.dump", "shop-2.sqlite", "shop.sqlite"]
    with sqlite3.connect(run.out / "test" / "shop-2.sqlite") as back:
        assert back.execute("SELECT count(*) FROM sales").fetchone() == (0,)


@pytest.mark.parametrize("config_id", ["..", ".", "", "a/b"])
def test_a_hostile_configuration_id_leads_nowhere(bench: Bench, run: Rescue, tmp_path: Path, config_id: str) -> None:
    repository = bench.open()
    nodes = [_file(b"planted")]
    commit(repository, _root(repository, b"/srv", nodes), config_id=config_id)
    before = _everything(tmp_path)
    run.restore(code=1)
    assert _everything(tmp_path) - before <= {run.out}


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc", b"a\0b", b"../planted"])
def test_hostile_names_are_damage(bench: Bench, run: Rescue, tmp_path: Path, name: bytes) -> None:
    repository = bench.open()
    commit(repository, _root(repository, b"/srv", [_file(name)]))
    run.restore(code=1)
    assert not [path for path in _everything(tmp_path) if path.name == "planted"]
    assert "impossible name" in run("check", code=6).stderr


@pytest.mark.parametrize("path", [b"/../../planted", b"../planted", b"/srv/../../../planted"])
def test_hostile_roots_lead_nowhere(bench: Bench, run: Rescue, tmp_path: Path, path: bytes) -> None:
    repository = bench.open()
    commit(repository, _root(repository, path, [_file(b"planted")]))
    run.restore(code=1)
    assert not [found for found in _everything(tmp_path) if found.name == "planted"]


def test_links_are_never_followed(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    before = os.stat(outside)
    repository = bench.open()
    link = Node(tree.SYMLINK, b"trap", 0o777, 0, 0, 0, 1, 1, 1, os.fsencode(outside))
    first = _root(repository, b"/srv", [link])
    second = _root(repository, b"/srv/trap", [_file(b"planted")])
    hard = [_file(b"a", {"l": (1, 2)}), _file(b"b", {"l": (1, 2)})]
    commit(repository, first, second, _root(repository, b"/srv/trap/deeper", hard))
    run.restore(code=1)
    assert os.listdir(outside) == []
    after = os.stat(outside)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_only_new_or_empty_folders_are_restored_into(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    bench.backup(tmp_path / "source")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    assert "is not empty" in run("restore", "--to", tmp_path / "full", code=1).stderr
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_setuid_comes_back_only_on_request(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "program").write_text("x")
    (tmp_path / "source" / "program").chmod(0o4755)
    bench.backup(tmp_path / "source")
    assert (below(run.restore(code=3), tmp_path / "source") / "program").stat().st_mode & 0o7777 == 0o755
    assert (below(run.restore("--special"), tmp_path / "source") / "program").stat().st_mode & 0o7777 == 0o4755


@pytest.mark.parametrize("gone", ["index", "holdfast.json", "heads", "sessions", "RECOVER.md"])
def test_what_can_be_done_without_is_no_loss(bench: Bench, run: Rescue, tmp_path: Path, seed: int, gone: str) -> None:
    make_tree(tmp_path / "source", random.Random(seed), files=20)
    bench.backup(tmp_path / "source")
    for path in bench.place.glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert snapshot(below(run.restore("--special"), tmp_path / "source")) == snapshot(tmp_path / "source")


def test_a_damaged_pack_costs_what_is_in_it_and_one_set_aside_still_gives(
    bench: Bench, run: Rescue, tmp_path: Path, seed: int
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_file(source / "good", random.Random(seed), 3_000_000)
    bench.backup(source)
    write_file(source / "other", random.Random(seed + 1), 3_000_000)
    old = {path.name for path in bench.place.glob("packs/*/*")}
    bench.backup(source)
    new = [path for path in bench.place.glob("packs/*/*") if path.name not in old]
    # Two threads may have filled a pack each; that of the tree is small.
    hit = max(new, key=lambda path: path.stat().st_size)
    content = bytearray(hit.read_bytes())
    content[len(content) // 3] ^= 1
    hit.unlink()
    (bench.place / "quarantine").mkdir(exist_ok=True)
    (bench.place / "quarantine" / hit.name).write_bytes(content)
    checked = run("check", code=6)
    assert "/other" in checked.stderr
    assert "/good" not in checked.stderr
    found = below(run.restore(code=1), source)
    assert [path.name for path in found.iterdir()] == ["good"]
    content[len(content) // 3] ^= 1
    (bench.place / "quarantine" / hit.name).write_bytes(content)
    assert snapshot(below(run.restore(), source)) == snapshot(source)


def test_a_wrong_key_is_told_from_damage(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    bench.backup(tmp_path / "source")
    (tmp_path / "other").write_text("ab" * 32)
    assert "does not open" in run("list", "--key-file", tmp_path / "other", code=12).stderr
    (tmp_path / "other").write_text("ab" * 31)
    assert "64 hexadecimal digits" in run("list", "--key-file", tmp_path / "other", code=12).stderr
    assert "mistyped" in run("list", "--recovery-code", "AAAA", code=12).stderr
    assert "kind recovery-code" in run("list", "--recovery-code", keyring.new_recovery_code(), code=6).stderr
    run("list", "--key-file", tmp_path / "nothing", code=1)
    for slot in (bench.place / "keys").iterdir():
        slot.chmod(0o600)
        slot.write_bytes(slot.read_bytes()[:-9])
    assert "damaged" in run("list", code=6).stderr
    shutil.rmtree(bench.place)
    assert "no repository" in run("list", code=10).stderr


def test_the_recovery_code_opens_however_it_is_given(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    code = keyring.new_recovery_code()
    name, data = keyring.wrap(bench.keyring, keyring.RECOVERY_CODE, keyring.read_recovery_code(code))
    bench.open().storage.put(name, data)
    run("list", "--recovery-code", code, code=0)
    run("list", "--recovery-code", "-", input=code.lower().replace("-", " ") + "\n", code=0)
    run("list", "--key-file", "-", input=SECRET.hex() + "\n", code=0)
    assert "does not open" in run("list", "--recovery-code", keyring.new_recovery_code(), code=12).stderr


def test_slots_from_before_a_change_of_keys_open_what_was_there_then(bench: Bench, run: Rescue, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("old")
    bench.backup(tmp_path / "source", config_id="old")
    bench.keyring = bench.keyring.with_new_epoch()
    bench.backup(tmp_path / "source", config_id="new")
    listed = run("list", code=6)
    assert [line.split()[2] for line in listed.stdout.splitlines()] == ["old"]
    assert "newer one than this key slot" in listed.stderr
    name, data = keyring.wrap(bench.keyring, keyring.SERVICE, SECRET)
    bench.open().storage.put(name, data)
    assert len(run("list", code=0).stdout.splitlines()) == 2


def test_from_a_bucket(moto: Store, tmp_path: Path, seed: int) -> None:
    bench = Bench(tmp_path)
    storage = moto.storage("rescue/deep")
    bench.create(storage)
    make_tree(tmp_path / "source", random.Random(seed))
    bench.backup(tmp_path / "source", storage=storage)
    (tmp_path / "key").write_text(SECRET.hex())
    bare = BareMachine(tmp_path, PACKAGES + FOR_S3)
    place = ("--repository", f"s3://{moto.bucket}/rescue/deep", "--endpoint", moto.endpoint)
    key = ("--key-file", tmp_path / "key")
    env = {"AWS_ACCESS_KEY_ID": moto.access_key, "AWS_SECRET_ACCESS_KEY": moto.secret_key}
    done = bare(PROGRAM, "restore", *place, *key, "--to", tmp_path / "out", "--special", env=env)
    assert done.code == 0, done
    assert snapshot(below(tmp_path / "out", tmp_path / "source")) == snapshot(tmp_path / "source")
    assert bare(PROGRAM, "list", "--repository", "s3://nothing/here", *place[2:], *key, env=env).code == 1


def test_guide_and_program_are_kept_up_to_date(bench: Bench) -> None:
    storage = bench.storage()
    assert guide.publish(storage)
    assert not guide.publish(storage)
    assert crypto.sha256(storage.get(guide.program_name())).hex() == guide.program_hash()
    assert guide.program_hash() in storage.get(guide.RECOVER).decode()
    older = guide.RESCUE + "0" * 64 + ".py"
    storage.put(older, b"an older one")
    for name in (guide.RECOVER, guide.program_name()):
        storage.put(name, b"planted", create=False)
    assert guide.publish(storage)
    assert storage.get(guide.program_name()) == PROGRAM.read_bytes()
    assert storage.get(guide.RECOVER) == guide.text()
    assert storage.get(older) == b"an older one"


def _root(repository: Repository, path: bytes, nodes: list[Node]) -> FilesRoot:
    (id,) = store(repository, Blob(TREE, tree.encode(nodes)))
    return FilesRoot(path, Node(tree.DIRECTORY, b"", 0o755, 0, 0, 0, 1, 1, 1, id), 1, 0)


def _file(name: bytes, extras: dict[str, object] | None = None) -> Node:
    return Node(tree.FILE, name, 0o644, 0, 0, 0, 1, 1, 1, None, extras)


def _is(line: str, identity: bytes) -> bool:
    from engine.ids import spell

    return line.startswith(spell("bk", identity))


def _everything(folder: Path) -> set[Path]:
    kept = {folder / "repository", folder / "bare"}
    return {path for path in folder.rglob("*") if not kept & set(path.parents)}
