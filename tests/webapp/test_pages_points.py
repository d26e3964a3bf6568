"""Pages of restore points and of what is inside them: what they say is so, whatever the names, and they stay small."""

from __future__ import annotations

import html
import io
import os
import re
import sqlite3
import tarfile
import zipfile
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from engine.ids import parse
from engine.progress import Silent
from tests.webapp.reading import SMALL, queries, quoted, words
from tests.webapp.shelf import WHO, Shelf, local, random_bytes
from tests.webapp.site import Browser, Site, person
from webapp.services import backups, point_facts, records, verifications

TEN_MINUTES = timedelta(minutes=10)


def test_a_pin_is_set_with_its_reason_and_taken_away_again(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    point = shelf.backup()
    page = f"/restore-points/{point}"
    admin.submit(f"{page}/pin", form=page, reason="before <the> migration")
    said = words(admin, page)
    assert "before <the> migration" in said
    assert "Undo" in said
    assert "pinned: before <the> migration" in words(admin, "/restore-points?state=pinned")
    admin.submit(f"{page}/unpin", form=page)
    assert records.find(shelf.installation, point).hold is None
    admin.submit(f"{page}/pin?reason=again", form=page)
    hold = records.find(shelf.installation, point).hold
    assert hold is not None
    assert (hold.reason, hold.identity) == ("again", "user:maria")


def test_a_damaged_point_says_what_of_it_restores(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(places=("backups", "second"))
    one = shelf.backup()
    records.set_states(shelf.installation, shelf.place(), {parse("bk", one): "damaged"})
    said = words(admin, f"/restore-points/{one}")
    assert "All of it still restores , from second" in said
    records.set_states(shelf.installation, shelf.place("second"), {parse("bk", one): "damaged"})
    assert "No destination has a good copy." in words(admin, f"/restore-points/{one}")
    assert "What of it still restores" in words(admin, "/restore-points?state=damaged")


def test_what_a_check_found_damaged_is_named_file_by_file(shelf: Shelf, admin: Browser) -> None:
    for number, name in enumerate(("sound.bin", "hurt.bin")):
        (shelf.source / name).write_bytes(random_bytes(number, 3 << 20))
    shelf.configure()
    point = shelf.backup()
    packs = sorted(
        (shelf.installation.settings.home / "backups" / "packs").rglob("*"), key=lambda each: each.stat().st_size
    )
    with packs[-1].open("r+b") as pack:
        pack.seek(packs[-1].stat().st_size // 2)
        pack.write(b"damage")
    order = verifications.Order(WHO, backup=point)
    assert verifications.verify(shelf.installation, order, progress=Silent(), tell=shelf.told.append).error is not None
    said = words(admin, f"/restore-points/{point}")
    assert "Everything restores but 1 file , which a restore names:" in said
    assert ("hurt.bin" in said) != ("sound.bin" in said)


def test_filters_are_in_the_address(shelf: Shelf, site: Site) -> None:
    shelf.configure()
    old = shelf.backup()
    shelf.hands.now += timedelta(days=10)
    new = shelf.backup()
    shelf.verify(new)
    admin = person(site)
    for query, wanted in (
        ("state=unchecked", {old}),
        ("state=usable", {old, new}),
        (f"to={shelf.hands.now - timedelta(days=5):%Y-%m-%d}", {old}),
        (f"from={shelf.hands.now - timedelta(days=5):%Y-%m-%d}&backup=shop", {new}),
        ("state=trash", set()),
    ):
        text = admin.get(f"/restore-points?{query}").text
        assert {each for each in (old, new) if f"/restore-points/{each}" in text} == wanted, query
    for query in ("state=lost", "from=yesterday", "to=0000-00-00", "to=20261123", "to=9999-12-31", "from=0001-01-01"):
        assert admin.get(f"/restore-points?{query}").status_code == 400, query
    assert admin.get("/restore-points?backup=nothing").status_code == 404


@pytest.mark.parametrize("path", ["/restore-points", "/runs"])
def test_a_day_of_25_hours_has_its_last_hour(shelf: Shelf, path: str) -> None:
    settings = replace(shelf.installation.settings, timezone="Europe/Berlin")
    site = Site(replace(shelf.installation, settings=settings))
    shelf.configure()
    shelf.hands.now = datetime(2026, 10, 25, 22, 30, tzinfo=UTC)  # in Berlin the 25th, half past eleven at night
    point = shelf.backup()
    admin = person(site)
    seen = {"/restore-points": point, "/runs": "/runs/run_"}[path]
    for first, last, is_there in (("25", "25", True), ("24", "24", False), ("26", "26", False)):
        days = f"from=2026-10-{first}&to=2026-10-{last}"
        assert (seen in admin.get(f"{path}?{days}").text) is is_there, days


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Pacific/Auckland", date(2026, 11, 24)),
        ("Asia/Kathmandu", date(2026, 11, 24)),
        ("America/Caracas", date(2026, 11, 24)),
        ("Europe/Berlin", date(2027, 3, 30)),  # two days after one of 23 hours
        ("Europe/Berlin", date(2027, 3, 28)),
        ("Europe/Berlin", date(2026, 10, 25)),  # of 25 hours
    ],
)
def test_calendars_are_those_of_the_zone(shelf: Shelf, site: Site, zone: str, day: date) -> None:
    """Also today, which may have begun earlier than in UTC; zones need not differ by whole hours."""
    shelf.configure(timezone=zone, retention={"last": 3})
    first, last = (datetime.combine(day + timedelta(days=more), time(), ZoneInfo(zone)) for more in (0, 1))
    for moment in (first - TEN_MINUTES, first + TEN_MINUTES, last - TEN_MINUTES):
        shelf.backup(moment.astimezone(UTC))
    days = point_facts.calendar(
        shelf.installation, point_facts.configuration_of(shelf.installation, "shop"), config_id="shop"
    )
    assert [(each.day, each.points) for each in days[-2:]] == [(day - timedelta(days=1), 1), (day, 2)]
    assert days[0].day.weekday() == 0
    admin = person(site)
    for path, said in (
        ("/backups/shop/retention", "26 weeks: restore points on 2 days, of 0 days some go"),
        ("/restore-points?backup=shop", "3 restore points in 26 weeks, on 2 days; 0 damaged"),
    ):
        assert f'aria-label="{said}"' in admin.get(path).text


def test_why_a_point_stays_is_told(shelf: Shelf, admin: Browser) -> None:
    shelf.configure(retention={"daily": 2, "keepMin": 1})
    shelf.series(4)
    said = words(admin, "/restore-points?backup=shop")
    assert "daily" in said
    assert "goes with the next clean-up" in said


def test_look_inside_and_download(shelf: Shelf, admin: Browser) -> None:
    folder = shelf.source / "bills & more"
    folder.mkdir()
    (folder / "one.txt").write_text("first")
    odd = os.fsencode(folder) + b"/\xff odd"
    Path(os.fsdecode(odd)).write_bytes(b"odd")
    shelf.configure()
    point = shelf.backup()
    inside = f"/restore-points/{point}/files"
    assert str(shelf.source) in words(admin, inside)
    assert admin.get(f"/restore-points/{point}/").location == inside
    text = words(admin, f"{inside}?path={quote(str(folder))}")
    assert "one.txt" in text
    assert "\\xff odd" in text
    for name, content in (("one.txt", b"first"), (os.fsdecode(b"\xff odd"), b"odd")):
        where = {"folder": quoted(str(folder)), "file": quoted(name)}
        got = admin.submit(f"/restore-points/{point}/fetch", form="/", **where)
        assert (got.status_code, got.data) == (200, content)
        assert got.headers["Content-Disposition"].startswith("attachment")
    assert admin.get(f"{inside}?path=/nothing").status_code == 404


def test_several_are_downloaded_as_one_archive(shelf: Shelf, admin: Browser) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (shelf.source / name).write_text(name)
    (shelf.source / "sub").mkdir()
    (shelf.source / "sub" / "d.txt").write_text("d")
    shelf.configure()
    point = shelf.backup()
    address, source = f"/restore-points/{point}/fetch", quoted(str(shelf.source))
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get("/").text)
    assert token
    sent = {"csrf_token": token[1], "folder": source, "names": ["a.txt", "sub"]}
    with zipfile.ZipFile(io.BytesIO(admin.client.post(address, data={**sent, "form": "zip"}).data)) as archive:
        assert sorted(archive.namelist()) == ["a.txt", "sub/", "sub/d.txt"]
    with tarfile.open(fileobj=io.BytesIO(admin.client.post(address, data={**sent, "form": "tar"}).data)) as archive:
        assert sorted(archive.getnames()) == ["a.txt", "sub", "sub/d.txt"]
    missing = admin.client.post(address, data={**sent, "names": ["a.txt", "gone"], "form": "zip"})
    assert missing.status_code == 404
    assert admin.client.post(address, data={"csrf_token": token[1], "folder": source}).status_code == 400


def test_changes_against_the_point_before(shelf: Shelf, admin: Browser) -> None:
    for name in ("same", "changes", "goes"):
        (shelf.source / name).write_text(name)
    shelf.configure()
    first = shelf.backup()
    (shelf.source / "changes").write_text("otherwise")
    (shelf.source / "goes").unlink()
    (shelf.source / "comes").write_text("new")
    second = shelf.backup()
    address = f"/restore-points/{second}/files?path={quote(str(shelf.source))}"
    rows = {
        name: row
        for row in re.findall(r"<tr>.*?</tr>", admin.get(address).text, re.DOTALL)
        for name in ("same", "changes", "goes", "comes")
        if f"<span>{name}</span>" in row
    }
    said = {
        name: [word for word in ("New", "Changed", "Deleted", ">same<") if word in row] for name, row in rows.items()
    }
    assert said == {"same": [">same<"], "changes": ["Changed"], "goes": ["Deleted"], "comes": ["New"]}
    only = admin.get(f"{address}&changed=yes").text
    assert "<span>same</span>" not in only
    assert "<span>comes</span>" in only
    oldest = words(admin, f"/restore-points/{first}/files?path={quote(str(shelf.source))}")
    assert "no point before it to compare with. Times of files in UTC." in oldest


def test_versions_of_a_file_over_many_points(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    shelf.backup()
    (shelf.source / "note").write_text("one")
    shelf.backup()
    shelf.backup()
    (shelf.source / "note").write_text("number two")
    last = shelf.backup()
    said = words(admin, f"/restore-points/{last}/versions?path={quote(str(shelf.source / 'note'))}")
    assert "10 B" in said.replace("\N{NO-BREAK SPACE}", " ")
    assert "and 1 before it" in said
    assert "not there" in said


def test_versions_tell_of_points_that_cannot_be_read(shelf: Shelf, admin: Browser) -> None:
    shelf.configure()
    (shelf.source / "note").write_text("one")
    lost = shelf.backup()
    last = shelf.backup()
    page = f"/restore-points/{last}/versions?path={quote(str(shelf.source / 'note'))}"
    assert "could not be read" not in words(admin, page)
    (shelf.installation.settings.home / "backups" / "manifests" / parse("bk", lost).hex()).unlink()
    assert "1 restore point could not be read" in words(admin, page)


def test_names_are_found_by_part_and_pattern(shelf: Shelf, admin: Browser) -> None:
    (shelf.source / "deep").mkdir()
    (shelf.source / "deep" / "Rates-2026.csv").write_text("x")
    shelf.configure()
    address = f"/restore-points/{shelf.backup()}/find"
    assert "deep/Rates-2026.csv" in words(admin, f"{address}?q=rates")
    assert "deep/Rates-2026.csv" in words(admin, f"{address}?q=*.CSV")
    assert "No name in this restore point fits." in words(admin, f"{address}?q=nothing")
    assert admin.get(f"{address}?q=").status_code == 400


def test_a_big_folder_comes_in_small_pages(shelf: Shelf, admin: Browser) -> None:
    for number in range(120):
        (shelf.source / f"a file with quite a long name, number {number:04}.txt").touch()
    shelf.configure()
    shelf.backup()
    address = f"/restore-points/{shelf.backup()}/files?path={quote(str(shelf.source))}"
    seen: list[str] = []
    while address:
        page = admin.get(address)
        assert len(page.data) < SMALL
        seen += re.findall(r"number (\d{4})\.txt</span>", page.text)
        following = re.search(r'href="([^"]+)">More</a>', page.text)
        address = html.unescape(following[1]) if following else ""
    assert seen == [f"{number:04}" for number in range(120)]


def test_the_tables_of_a_database_are_sorted_and_chosen(shelf: Shelf, admin: Browser, tmp_path: Path) -> None:
    database = tmp_path / "some.db"
    with closing(sqlite3.connect(database)) as made:
        made.execute("CREATE TABLE zebra (n)")
        made.execute("CREATE TABLE ant (n)")
        made.execute("INSERT INTO zebra VALUES (1), (2)")
        made.commit()
    sources = {"databases": [{"url": f"sqlite:///{database}"}]}
    shelf.configure(type="database", sources=sources)
    order = backups.Order("shop", WHO)
    made_point = backups.create(shelf.installation, order, cwd=tmp_path, progress=Silent(), tell=shelf.told.append)
    page = f"/restore-points/{made_point.run.backup_id}"
    assert str(database) in words(admin, f"{page}/files")
    address = f"{page}/database?name={quote(str(database))}"
    by_name, by_rows = words(admin, address), words(admin, f"{address}&sort=rows")
    assert by_name.index("ant") < by_name.index("zebra")
    assert by_rows.index("zebra") < by_rows.index("ant")
    assert admin.get(f"{address}&sort=colour").status_code == 400
    refused = words(admin, f"{page}/schema?name={quote(str(database))}", 422)
    assert "cannot be shown" in refused


def test_pages_stay_small_and_ask_little(shelf: Shelf, admin: Browser) -> None:
    places = ("backups", local("second"))
    for number in range(26):
        shelf.configure(
            f"shop-{number:02}-with-a-long-name",
            retention={"daily": 7},
            name=f"A shop with quite a long name, {number}",
            places=places,
        )
    point = [shelf.backup(config_id="shop-00-with-a-long-name") for _ in range(26)][-1]
    inside = f"/restore-points/{point}"
    for path in (
        "/restore-points",
        "/restore-points?backup=shop-00-with-a-long-name",
        inside,
        f"{inside}/files",
        f"{inside}/files?path={quote(str(shelf.source))}",
        "/restores",
        "/restores/new",
        "/verification",
    ):
        asked = queries(shelf.installation, admin, path)
        assert len(asked) <= 12, (path, len(asked), asked)
        assert len(admin.get(path).data) < SMALL, path
