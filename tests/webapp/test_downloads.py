"""Contents and downloads through the API: exact bytes in each form, safe names, links that serve once, one person."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from werkzeug.test import TestResponse

from engine.chunker import MAXIMUM
from tests.support.postgres import PostgresServer, fresh_database
from tests.webapp.shelf import Shelf, random_bytes
from tests.webapp.site import PASSWORD, Site, person
from tests.webapp.support import Hands
from webapp.errors import NotFound
from webapp.installation import open_installation
from webapp.models import AuditEntry
from webapp.services import accounts, archives, downloads, links
from webapp.services.access import SYSTEM, Actor
from webapp.services.downloads import Wish
from webapp.settings import read_settings

BIG = random_bytes(7, 3 * MAXIMUM)
ODD = b"odd \xff\\..\nname"


@dataclass(frozen=True)
class Made:
    """A site with one restore point of a folder."""

    site: Site
    hands: Hands
    folder: Path
    backup: str

    def get(self, what: str, **query: str) -> TestResponse:
        words = "&".join(f"{name}={quote(os.fsencode(value))}" for name, value in query.items())
        return self.site.api("GET", f"backups/{self.backup}/{what}?{words}")

    def audited(self, action: str) -> list[AuditEntry]:
        with self.site.installation.database.reading() as session:
            found = session.query(AuditEntry).filter(AuditEntry.action == action)
            return list(found.order_by(AuditEntry.sequence))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    base = tmp_path_factory.mktemp("downloads")
    hands = Hands(datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    installation = open_installation(read_settings({"HOLDFAST_HOME": str(base / "home")}), clock=hands)
    folder = base / "source"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "big.bin").write_bytes(BIG)
    (folder / "sub" / "small").write_text("hello")
    (folder / "sub" / "small").chmod(0o640)
    os.utime(folder / "sub" / "small", ns=(1, -1))
    (folder / "sub" / "link").symlink_to("../big.bin")
    os.mkfifo(folder / "sub" / "fifo")
    Path(os.fsdecode(bytes(folder) + b"/sub/" + ODD)).write_bytes(b"odd")
    shelf = Shelf(installation, hands, folder)
    shelf.configure()
    yield Made(Site(installation), hands, folder, shelf.backup())
    installation.close()


def test_a_folder_is_listed_in_pages(made: Made) -> None:
    (top,) = made.get("files").json["items"]
    assert (top["name"], top["kind"]) == (str(made.folder), "folder")
    names, cursor = [], ""
    while cursor is not None:
        part = made.get("files", path=f"{made.folder}/sub", limit="2", **({"cursor": cursor} if cursor else {})).json
        names += [each["name"] for each in part["items"]]
        cursor = part["nextCursor"]
    assert names == ["empty", "fifo", "link", os.fsdecode(ODD), "small"]
    assert made.get("tables").json == {"items": [], "nextCursor": None}


def test_a_file_comes_as_it_was_with_a_safe_name(made: Made) -> None:
    answer = made.get("download", path=f"{made.folder}/big.bin")
    assert (answer.status_code, answer.data == BIG, answer.content_type) == (200, True, "application/octet-stream")
    assert answer.headers["Content-Length"] == str(len(BIG))
    assert answer.headers["Content-Disposition"] == "attachment; filename=\"big.bin\"; filename*=UTF-8''big.bin"
    odd = made.get("download", path=f"{made.folder}/sub/{os.fsdecode(ODD)}")
    assert odd.data == b"odd"
    assert odd.headers["Content-Disposition"].startswith('attachment; filename="odd __.._name"')


def test_a_folder_comes_as_tar(made: Made) -> None:
    data = made.get("download", path=f"{made.folder}/sub", form="tar").data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: member for member in archive}
        assert archive.extractfile("sub/small").read() == b"hello"
        assert archive.extractfile(os.fsdecode(b"sub/" + ODD)).read() == b"odd"
    assert list(found) == ["sub", "sub/empty", "sub/link", os.fsdecode(b"sub/" + ODD), "sub/small"]
    assert (found["sub/small"].mode, found["sub/link"].linkname, found["sub/empty"].isdir()) == (
        0o640,
        "../big.bin",
        True,
    )


def test_a_folder_comes_as_zip(made: Made) -> None:
    answer = made.get("download", path=str(made.folder), form="zip")
    assert 'filename="source.zip"' in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert archive.read("source/big.bin") == BIG
        assert archive.read("source/sub/odd %FF%5C..\nname") == b"odd"
        assert archive.getinfo("source/sub/link").external_attr >> 16 & 0o170000 == 0o120000
        assert archive.getinfo("source/sub/small").date_time[0] == 1980


def test_archives_keep_little_in_memory(made: Made) -> None:
    """No piece is larger than what the reader gives, whatever the archive's size; see also MOST_ZIPPED."""
    installation = made.site.installation
    for form in (downloads.ZIP, downloads.TAR):
        wish = Wish(made.backup, str(made.folder), form)
        found = downloads.fetch(installation, SYSTEM, wish, tell=lambda text: None)
        sizes = [len(piece) for piece in found.pieces]
        assert sum(sizes) > len(BIG)
        assert max(sizes) < MAXIMUM + 100_000


def test_a_zip_of_too_many_entries_breaks_off(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_ZIPPED", 3)
    wish = Wish(made.backup, str(made.folder), downloads.ZIP)
    found = downloads.fetch(made.site.installation, SYSTEM, wish, tell=lambda text: None)
    with pytest.raises(Exception, match="Ask for tar"):
        list(found.pieces)
    assert (made.audited("download.ended")[-1].outcome, made.audited("download.ended")[-1].object) == (
        "failed",
        made.backup,
    )


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/nope", "file", 404),
        ("/nope", "tar", 404),
        ("/sub", "file", 422),
        ("/big.bin", "zip", 422),
        ("/sub/link", "file", 422),
        ("/sub/fifo", "file", 422),
        ("/big.bin", "sql", 404),
        ("/big.bin", "exe", 422),
        ("/big.bin\0", "file", 422),
        ("/../../etc/passwd", "file", 404),
    ],
)
def test_what_cannot_be_downloaded(made: Made, path: str, form: str, status: int) -> None:
    answer = made.get("download", path=f"{made.folder}{path}", form=form)
    assert answer.status_code == status, answer.text


def test_a_path_that_no_file_has_is_refused(made: Made) -> None:
    for path in ("\ud800", "x" * 5000, "", 7, None):
        answer = made.site.api("POST", f"backups/{made.backup}/download-link", json={"path": path})
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/path")


def test_contents_are_not_for_managers(made: Made) -> None:
    token = made.site.token("manager", "super_admin")
    for what in ("files", "tables", f"download?path={made.folder}/big.bin"):
        assert made.site.api("GET", f"backups/{made.backup}/{what}", token=token).status_code == 403
    body = {"path": f"{made.folder}/big.bin"}
    answer = made.site.api("POST", f"backups/{made.backup}/download-link", token=token, json=body)
    assert answer.status_code == 403
    assert made.audited("access.denied")[-1].outcome == "denied"


def link(made: Made, token: str) -> str:
    body = {"path": f"{made.folder}/sub/small"}
    answer = made.site.api("POST", f"backups/{made.backup}/download-link", token=token, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json["url"])


def follow(made: Made, url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return made.site.app.test_client().get(url, headers=headers).status_code


def test_a_link_serves_once(made: Made) -> None:
    token = made.site.token("admin", "admin")
    url = link(made, token)
    head = made.site.app.test_client().head(url, headers={"Authorization": f"Bearer {token}"})
    assert head.status_code == 405
    assert [follow(made, url, token) for _ in range(2)] == [200, 404]
    assert [entry.outcome for entry in made.audited("link.used")[-2:]] == ["done", "denied"]


def test_a_link_serves_its_maker_alone(made: Made) -> None:
    maker, other = made.site.token("admin", "admin"), made.site.token("super_admin", "super_admin")
    url = link(made, maker)
    assert made.site.app.test_client().get(url).status_code == 302
    assert follow(made, url, made.site.token("manager", "super_admin")) == 403
    assert [follow(made, url, each) for each in (other, maker)] == [404, 200]


def test_a_link_ends_after_five_minutes(made: Made) -> None:
    token = made.site.token("admin", "admin")
    early, late = link(made, token), link(made, token)
    made.hands.now += timedelta(minutes=4, seconds=59)
    assert follow(made, early, token) == 200
    made.hands.now += timedelta(seconds=1)
    assert follow(made, late, token) == 404
    made.hands.now += timedelta(days=2)
    assert links.sweep(made.site.installation) >= 2


def test_a_browser_follows_a_link_of_its_person(made: Made) -> None:
    browser = person(made.site, "olga", "admin")
    user = accounts.find(made.site.installation, "olga")
    actor = Actor("user:olga", "admin", user_id=user.id)
    wish = Wish(made.backup, f"{made.folder}/sub/small", downloads.AS_IS)
    new = links.make(made.site.installation, actor, wish)
    assert PASSWORD not in new.secret
    assert browser.get(f"/downloads/{new.secret}").data == b"hello"
    with pytest.raises(NotFound):
        links.take(made.site.installation, actor, new.secret)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b\\c", "a_b_c"),
        ("../../etc", "_.._etc"),
        ('x"\r\nSet-Cookie: y', "x___Set-Cookie_ y"),
        ("evil\u202egpj.exe", "evil_gpj.exe"),
        ("...", "download"),
        ("é" * 300 + ".dump", "é" * 145 + ".dump"),
    ],
)
def test_names_in_headers_are_harmless(name: str, safe: str) -> None:
    assert downloads.safe_name(name) == safe
    assert "\n" not in downloads.disposition(downloads.safe_name(name))


def test_a_dump_comes_as_sql_that_makes_the_same_rows(shelf: Shelf, postgres: PostgresServer) -> None:
    settings = replace(shelf.installation.settings, pg_bin=postgres.bin)
    installation = replace(shelf.installation, settings=settings)
    with fresh_database(postgres, "from") as source, fresh_database(postgres, "to") as target:
        postgres.query(
            source, "CREATE TABLE t (id int, word text); INSERT INTO t SELECT n, 'w' FROM generate_series(1, 9000) n"
        )
        databases = {"databases": [{"url": postgres.url(source)}]}
        place = replace(shelf, installation=installation)
        place.configure(type="database", sources=databases)
        site, backup = Site(installation), place.backup()
        path = f"path=postgres:{source}"
        tables = site.api("GET", f"backups/{backup}/tables").json["items"]
        assert [(each["name"], each["rows"]) for each in tables] == [("t", 9000)]
        script = site.api("GET", f"backups/{backup}/download?form=sql&{path}")
        assert f'filename="{source}.sql"' in script.headers["Content-Disposition"]
        psql = [str(postgres.bin / "psql"), "-q", "-X", "-v", "ON_ERROR_STOP=1", postgres.url(target)]
        subprocess.run(psql, input=script.data, check=True, capture_output=True)
        assert postgres.query(target, "SELECT count(*) FROM t") == [(9000,)]
        dump = site.api("GET", f"backups/{backup}/download?form=dump&{path}")
        assert dump.data.startswith(b"PGDMP")
        left = downloads.fetch(installation, SYSTEM, Wish(backup, source, downloads.SQL), tell=lambda text: None)
        left.pieces.close()
        assert list((settings.home / "spool").iterdir()) == []
