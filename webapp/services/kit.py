"""The recovery kit: one page to print and put away, with everything that a person needs when this machine is gone."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from engine.errors import EngineError
from engine.repository import guide
from webapp.errors import Fault, Invalid, ServiceError, SettingsInvalid
from webapp.files import publish
from webapp.installation import Installation
from webapp.models import Destination
from webapp.schema.redact import settings_without_secrets
from webapp.services import keyrings, keys, repositories
from webapp.services.keyrings import Tell

FORMATS = ("text", "html")
_TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
_INSTRUCTIONS = (
    "Take any Linux machine with Python 3.11 or newer, and this page. Nothing of the old machine is needed.",
    "Reach one of the destinations above: mount the disk, or have the keys of the bucket at hand.",
    "With Holdfast: backup-cli destination attach NAME --path FOLDER --recovery-code -",
    "Then backup-cli list, and restore --backup ID, --to NEW-FOLDER for files, --to postgresql://… for databases.",
    "Without: copy the rescue program above to rescue.py; sha256sum rescue.py must print the hash on this page.",
    "python3 -m pip install cryptography zstandard (and boto3 for a bucket)",
    "python3 rescue.py restore --repository FOLDER --recovery-code - --to NEW-FOLDER",
    "Load a database: createdb NAME, then pg_restore --exit-on-error -d NAME NAME.dump. RECOVER.md there says more.",
)


@dataclass(frozen=True)
class Place:
    """A destination as the kit names it: no secrets."""

    name: str
    kind: str
    where: str
    repository_id: str


@dataclass(frozen=True)
class Kit:
    """What is on the page. `code` in two rows; `program` is the rescue program's object and `program_hash` its
    SHA-256."""

    made_at: datetime
    host: str
    vault: str
    places: tuple[Place, ...]
    code: tuple[str, ...]
    program: str
    program_hash: str

    @property
    def instructions(self) -> tuple[str, ...]:
        """Eight lines."""
        return _INSTRUCTIONS


def make(installation: Installation, *, present_code: str | None, tell: Tell) -> Kit:
    """A kit with a new recovery code, or with the present one, which the user typed. The code before works until
    keys.settle, which is to be called when the page is safe.

    Raises NotFound before the first backup, WrongKey, KeyMissing."""
    if present_code is None:
        code = keys.replace_code(installation, tell=tell)
    else:
        keyrings.confirm_code(installation.settings, present_code)
        code = _spelled(present_code)
    keyring = repositories.open_keyring(installation, may_create=False, tell=tell)
    used = [each for each in repositories.used_destinations(installation) if each.deleted_at is None]
    return Kit(
        made_at=installation.clock(),
        host=installation.host,
        vault=keyring.vault.hex(),
        places=tuple(_place(installation, each) for each in used),
        code=tuple(keyrings.code_rows(code)),
        program=guide.program_name(),
        program_hash=guide.program_hash(),
    )


def render(kit: Kit, format: str) -> str:
    """The page as text, or as HTML that prints on one A4 page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    if format not in FORMATS:
        raise Invalid(f"There is no format {format}.", hint=f"Choose {' or '.join(FORMATS)}.")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=format == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"recovery-kit.{'html' if format == 'html' else 'txt'}").render(kit=kit)


def require_new(path: Path) -> None:
    """To be asked before a code is changed. Raises Invalid unless a new file of this name can be made."""
    if path.exists() or path.is_symlink():
        raise Invalid(f"{path} exists already.", hint="Choose another name: a kit is never overwritten.")
    if not path.absolute().parent.is_dir():
        raise Invalid(f"There is no folder {path.absolute().parent}.")


def write(path: Path, page: str) -> None:
    """The page in a new file of mode 0600. Raises Invalid when there is a file already, SettingsInvalid."""
    try:
        if not publish(path, page.encode()):
            raise Invalid(f"{path} exists already.", hint="Choose another name: a kit is never overwritten.")
    except OSError as error:
        raise SettingsInvalid("The kit cannot be written.", [Fault("-o", f"{path}: {error.strerror}.")]) from error


def _place(installation: Installation, destination: Destination) -> Place:
    try:
        with closing(repositories.open_storage(installation, destination)) as storage:
            where = storage.describe()
    except (EngineError, ServiceError):
        shown = settings_without_secrets(destination.kind, destination.settings)
        where = ", ".join(f"{key} {value}" for key, value in shown.items() if value)
    return Place(destination.name, destination.kind, where, destination.repository_id or "")


def _spelled(code: str) -> str:
    letters = "".join(code.split()).replace("-", "").upper().translate(str.maketrans("018", "OIB"))
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))
