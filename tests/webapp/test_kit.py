"""The recovery kit holds what a stranger needs and no secret but its code, which works when its page is safe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine import keyring as keys
from engine.errors import WrongKey
from engine.repository import guide
from tests.webapp.keyring_home import key_of, opened_at, opens, silent
from webapp.errors import Invalid, SettingsInvalid
from webapp.installation import Installation
from webapp.models import Destination
from webapp.services import keyrings, kit, secrets
from webapp.services import keys as service


@pytest.fixture
def installation(home: Path) -> Iterator[Installation]:
    with closing(opened_at(home)) as opened:
        yield opened


class _Page(HTMLParser):
    """Text of a page, and that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("format", kit.FORMATS)
def test_the_kit_holds_what_is_needed_and_no_secrets(home: Path, installation: Installation, format: str) -> None:
    with installation.database.transaction() as session:
        settings = {"bucket": "b-ucket", "accessKeyId": "canary-id", "secretAccessKey": "${SECRET_THING}"}
        sealed = secrets.seal(
            installation.settings, {"accessKeyId": "canary-1"}, bound="p", may_generate=False, tell=silent
        )
        session.add(
            Destination(
                name="<b>bucket & co</b>",
                kind="s3",
                settings=settings,
                sealed=sealed,
                place="p",
                repository_id="ab" * 16,
                created_at=installation.clock(),
            )
        )
    made = kit.make(installation, present_code=None, tell=silent)
    page = kit.render(made, format)
    assert page.count("canary") == 0
    assert key_of(home).hex() not in page
    for place in made.places:
        assert place.repository_id in page
    assert {each.name for each in made.places} >= {"<b>bucket & co</b>"}
    assert all(row in page for row in made.code)
    assert made.program_hash == guide.program_hash()
    assert made.program_hash in page
    assert len(made.instructions) == 8
    if format == "html":
        read = _Page(page)
        assert read.open == []
        assert "<b>bucket & co</b>" in "".join(read.text)
        assert "@page { size: A4" in page
    elif format == "text":
        assert max(map(len, page.splitlines())) <= 120
        assert len(page.splitlines()) <= 60  # one page
    secret = keys.read_recovery_code("".join(made.code))
    assert opens(home, secret, keys.RECOVERY_CODE)


def test_a_kit_replaces_the_code_when_its_page_is_safe(home: Path, installation: Installation, code: str) -> None:
    made = kit.make(installation, present_code=None, tell=silent)
    for shown in (code, "-".join(made.code)):
        assert opens(home, keys.read_recovery_code(shown), keys.RECOVERY_CODE)
    assert service.settle(installation) == {}
    for place in (home, home / "one", home / "two"):
        assert opens(place, keys.read_recovery_code("-".join(made.code)), keys.RECOVERY_CODE)
        assert not opens(place, keys.read_recovery_code(code), keys.RECOVERY_CODE)
    kept = kit.make(installation, present_code="".join(made.code).lower(), tell=silent)
    assert kept.code == made.code
    with pytest.raises(WrongKey):
        kit.make(installation, present_code=code, tell=silent)


def test_a_code_that_only_a_destination_still_has_ends_with_the_next_kit(
    home: Path, installation: Installation, code: str
) -> None:
    (left,) = (path for path in (home / "two").glob("keys/*") if b"recovery-code" in path.read_bytes())
    data = left.read_bytes()
    kit.make(installation, present_code=None, tell=silent)
    assert service.settle(installation) == {}
    left.write_bytes(data)  # as where it was attached again after that
    assert opens(home / "two", keys.read_recovery_code(code), keys.RECOVERY_CODE) == 1
    kit.make(installation, present_code=None, tell=silent)
    assert service.settle(installation) == {}
    assert opens(home / "two", keys.read_recovery_code(code), keys.RECOVERY_CODE) == 0


def test_a_code_that_was_typed_back_is_remembered_until_it_changes(installation: Installation, code: str) -> None:
    settings = installation.settings
    assert not keyrings.is_code_confirmed(settings)
    with pytest.raises(WrongKey):
        keyrings.confirm_code(settings, keys.new_recovery_code())
    assert not keyrings.is_code_confirmed(settings)
    keyrings.confirm_code(settings, code)
    assert keyrings.is_code_confirmed(settings)
    service.replace_code(installation, tell=silent)
    assert not keyrings.is_code_confirmed(settings)


def test_a_kit_is_a_private_new_file(tmp_path: Path) -> None:
    kit.write(tmp_path / "kit", "page")
    assert (tmp_path / "kit").stat().st_mode & 0o777 == 0o600
    for refused in (tmp_path / "kit", tmp_path / "missing" / "kit"):
        with pytest.raises(Invalid):
            kit.require_new(refused)
    with pytest.raises(Invalid, match="exists"):
        kit.write(tmp_path / "kit", "other")
    assert (tmp_path / "kit").read_text() == "page"
    with pytest.raises(SettingsInvalid):
        kit.write(tmp_path / "missing" / "kit", "page")
