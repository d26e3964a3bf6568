"""What a bucket and its store can do, asked for by the probe. Nothing here is needed for backups."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.errors import AccessDenied, StorageError, Unavailable
from engine.storage import s3_client

if TYPE_CHECKING:
    from engine.storage.s3 import S3Storage

_NO_LOCK = ("ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration")
_SMALL = b"a checksum of something else goes with these bytes"
_WRONG_CHECKSUM = base64.b64encode(bytes(32)).decode()


class S3Features:
    """Answers for one S3Storage. Methods raise StorageError."""

    def __init__(self, storage: S3Storage) -> None:
        self._storage = storage

    @property
    def creates_conditionally(self) -> bool:
        """False when the store said that it cannot; it may still be lying when True."""
        return self._storage.creates_conditionally

    def server_time(self) -> datetime:
        """The store's clock, in whole seconds."""
        from email.utils import parsedate_to_datetime  # slow to import, and only the probe asks

        bucket = self._storage.bucket
        answer = self._ask(lambda: self._storage.client.list_objects_v2(Bucket=bucket, MaxKeys=1))
        stated = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(stated).astimezone(UTC)
        except ValueError as error:
            raise Unavailable(f"{self._storage.describe()} tells no time.") from error

    def versioning(self) -> str:
        """`on`, `suspended`, `off`, or why that cannot be told."""
        return self._told(self._versioning)

    def object_lock(self) -> str:
        """`off`, `on`, with the default retention where there is one, or why that cannot be told."""
        return self._told(self._object_lock)

    def refuses_wrong_checksum(self, name: str) -> bool:
        """Whether an object whose SHA-256 is not the stated one is refused, as it is when the network spoils it."""
        storage = self._storage

        def attempt() -> bool:
            try:
                storage.client.put_object(
                    Bucket=storage.bucket, Key=storage.key(name), Body=_SMALL, ChecksumSHA256=_WRONG_CHECKSUM
                )
            except s3_client.failures() as error:
                if s3_client.status_of(error) == 400:
                    return True
                raise
            return False

        return storage.ask(name, attempt)

    def _versioning(self) -> str:
        answer = self._ask(lambda: self._storage.client.get_bucket_versioning(Bucket=self._storage.bucket))
        return {"Enabled": "on", "Suspended": "suspended"}.get(answer.get("Status", ""), "off")

    def _object_lock(self) -> str:
        def ask() -> Any:
            try:
                return self._storage.client.get_object_lock_configuration(Bucket=self._storage.bucket)
            except s3_client.failures() as error:
                if s3_client.code_of(error) in _NO_LOCK:
                    return {}
                raise

        found = self._ask(ask).get("ObjectLockConfiguration", {})
        if found.get("ObjectLockEnabled") != "Enabled":
            return "off"
        default = found.get("Rule", {}).get("DefaultRetention", {})
        for unit in ("Days", "Years"):
            if unit in default:
                return f"on, {default.get('Mode', '').lower()} for {default[unit]} {unit.lower()} by default"
        return "on"

    def _ask(self, action: Any) -> Any:
        return self._storage.ask("", action)

    def _told(self, question: Any) -> str:
        """Many keys may not ask for this and some stores do not know it, which is no fault."""
        try:
            return str(question())
        except AccessDenied:
            return "unknown: these credentials may not ask"
        except StorageError as error:
            if error.transient:
                raise
            return "unknown: the store does not say"
