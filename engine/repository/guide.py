"""What a stressed person finds at a destination: RECOVER.md, and the rescue program that it tells to run.

Programs are never removed: a recovery kit in somebody's drawer names the one of its day by its hash."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from engine import crypto
from engine.errors import AlreadyExists, NotFound
from engine.storage.base import Storage

RECOVER, RESCUE = "RECOVER.md", "rescue/"
_PROGRAM = Path(__file__).resolve().parents[1] / "rescue.py"
_TEXT = """\
# How to get the backups back

This place holds backups made by Holdfast. They are encrypted. To read them you need **one** of these:

- the **recovery code** from the recovery kit (14 groups of four letters and digits), or
- the **encryption key** (64 hexadecimal digits; often in a file `backup.key`, or the variable BACKUP_ENCRYPTION_KEY).

Nothing here can be made worse by reading. Work on a copy all the same if you can, and change nothing here.

## With Holdfast

Install Holdfast on any machine, then attach this place. Configurations, history and restore points are there again:

    backup-cli destination attach NAME --path THIS-FOLDER --recovery-code -
    backup-cli list
    backup-cli restore --backup ID --to NEW-FOLDER

For a bucket write `--bucket BUCKET --prefix PREFIX` instead of `--path`.

## Without Holdfast

All you need is Python 3.11 or newer on Linux and the program that lies here, in

    {program}

1. Copy the program to your machine as `rescue.py`. **Compare its hash with the one on the recovery kit before you
   give it the code:** whoever could change this place could also have changed the program and this page.

       sha256sum rescue.py
       {digest}

2. Install two packages (for a bucket also `boto3`):

       python3 -m pip install cryptography zstandard

3. See what is there. The program asks for the code; with a key write `--key-file FILE` instead of `--recovery-code -`.

       python3 rescue.py list --repository THIS-FOLDER --recovery-code -

   For a bucket: `--repository s3://BUCKET/PREFIX`, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set, and
   `--endpoint URL` for a store that is not Amazon's.

4. Bring the newest backup of everything to a new folder (`--backup ID` for another one):

       python3 rescue.py restore --repository THIS-FOLDER --recovery-code - --to NEW-FOLDER

   Each configuration gets a folder of its own: files at the paths that they had, databases as `NAME.dump`.

5. Load a database; SQLite databases come back as files. Where the server has the users of the old one, leave
   `--no-owner --no-privileges` out.

       createdb NAME
       pg_restore --exit-on-error --no-owner --no-privileges -d NAME NAME.dump

The format is described in docs/format.md of Holdfast, so that even without this program nothing is lost.
"""


@cache
def program() -> bytes:
    """The rescue program of this version."""
    return _PROGRAM.read_bytes()


def program_hash() -> str:
    """The SHA-256 of the rescue program, 64 hex digits: what the recovery kit names."""
    return crypto.sha256(program()).hex()


def program_name() -> str:
    """The object of this version's rescue program."""
    return f"{RESCUE}{program_hash()}.py"


def text() -> bytes:
    """RECOVER.md of this version."""
    return _TEXT.format(program=program_name(), digest=program_hash()).encode()


def publish(storage: Storage) -> bool:
    """RECOVER.md and the program are there as this version has them; whether anything had to be written.

    Raises StorageError."""
    wrote = [
        _keep(storage, program_name(), program()),
        _keep(storage, RECOVER, text()),
    ]
    return any(wrote)


def _keep(storage: Storage, name: str, wanted: bytes) -> bool:
    try:
        found: bytes | None = storage.get(name)
    except NotFound:
        found = None
    if found == wanted:
        return False
    try:
        storage.put(name, wanted, create=found is None)
    except AlreadyExists:  # another writer was faster
        return False
    return True
