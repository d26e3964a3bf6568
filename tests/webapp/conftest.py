"""What the tests of settings, schema, database, runs and commands share: an installation in a fresh home, a clock
that stands still until it is moved, and documents that are valid."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.support.postgres import PostgresServer, fresh_database
from tests.webapp import keyring_home
from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser, Site, person
from tests.webapp.support import Hands
from webapp.database import SQLITE_PREFIX, open_database
from webapp.installation import Installation, open_installation
from webapp.services import passwords
from webapp.settings import ensure_home, read_settings


@pytest.fixture(scope="package", autouse=True)
def quick_hashes() -> Iterator[None]:
    """A password costs next to nothing here, because nearly every test makes people; `test_accounts` has a process of
    its own look at what one costs."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", quick)
        patch.setattr(passwords, "_NOBODY", quick.hash("nobody"))
        yield


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no rows, to be copied: the upgrades take longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "holdfast.db"
    open_database(f"{SQLITE_PREFIX}{path}").close()
    return path


@pytest.fixture(scope="session")
def empty_postgres(postgres: PostgresServer) -> Iterator[str]:
    """The name of such a database on the server."""
    with fresh_database(postgres, "holdfast_empty") as name:
        open_database(postgres.url(name)).close()
        yield name


@pytest.fixture
def fresh_home(tmp_path: Path, empty_database: Path) -> dict[str, str]:
    """The environment of a home where nothing happened yet."""
    environment = {"HOLDFAST_HOME": str(tmp_path / "home")}
    settings = read_settings(environment)
    ensure_home(settings)
    shutil.copy(empty_database, settings.database_url.removeprefix(SQLITE_PREFIX))
    return environment


@pytest.fixture(params=["sqlite", "postgresql"])
def either_home(request: pytest.FixtureRequest, fresh_home: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same, once with each kind of database."""
    if request.param == "sqlite":
        yield fresh_home
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with fresh_database(server, like=request.getfixturevalue("empty_postgres")) as name:
        yield {**fresh_home, "HOLDFAST_DATABASE_URL": server.url(name)}


@pytest.fixture
def hands() -> Hands:
    """A clock; `hands.now += timedelta(…)` moves it."""
    return Hands(datetime(2026, 11, 23, 2, 0, tzinfo=UTC))


@pytest.fixture
def installation(tmp_path: Path, hands: Hands, fresh_home: dict[str, str]) -> Iterator[Installation]:
    opened = open_installation(read_settings({**fresh_home, "UPLOAD_DIR": str(tmp_path)}), clock=hands)
    yield opened
    opened.close()


@pytest.fixture
def site(installation: Installation) -> Site:
    """The application of the installation."""
    return Site(installation)


@pytest.fixture
def admin(site: Site) -> Browser:
    """Somebody signed in as an admin."""
    return person(site)


@pytest.fixture
def shelf(installation: Installation, hands: Hands, tmp_path: Path) -> Shelf:
    """An installation with an empty folder to back up."""
    source = tmp_path / "source"
    source.mkdir()
    return Shelf(installation, hands, source)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with two destinations and a restore point, and its recovery code: to be copied (`home`)."""
    return keyring_home.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def home(made: tuple[Path, str], tmp_path: Path) -> Path:
    shutil.copytree(made[0], tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def code(made: tuple[Path, str]) -> str:
    return made[1]
