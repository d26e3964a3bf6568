"""A repository in a bucket of Amazon S3 or of any store that speaks its protocol.

One PUT an object, with a SHA-256 that the store compares and a condition that refuses to overwrite. When nobody knows
whether a PUT arrived, the store is asked before anything is sent again."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from engine.errors import AccessDenied, AlreadyExists, NotFound, ShortRead, StorageError, Unavailable
from engine.storage.base import Buffer, Item
from engine.storage.retry import Patience, persist
from engine.storage.s3_client import Credentials, Endpoint, Timeouts, code_of, explain, find_endpoint, open_client
from engine.storage.s3_client import status_of as status

TITLE = "Amazon S3 or compatible"
LARGEST_BYTES = 64 << 20
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MD5_ETAG = re.compile(r"[0-9a-f]{32}")
_READ_BYTES = 1 << 20
_NOTHING: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")


@dataclass(frozen=True)
class Config:
    """Settings of an S3 destination. `${…}` in a configuration is filled in later, so it is let through here."""

    bucket: str = field(metadata={"help": "Name of the bucket"})
    prefix: str = field(default="", metadata={"help": "Names of objects begin with it"})
    region: str | None = field(default=None, metadata={"help": "Region of the bucket; else AWS_REGION"})
    endpoint: str | None = field(default=None, metadata={"help": "URL of the store, for others than Amazon's"})
    access_key_id: str | None = field(default=None, metadata={"help": "Else AWS_ACCESS_KEY_ID", "secret": True})
    secret_access_key: str | None = field(
        default=None, repr=False, metadata={"help": "Else AWS_SECRET_ACCESS_KEY", "secret": True}
    )

    def __post_init__(self) -> None:
        if "${" not in self.bucket and not _BUCKET.fullmatch(self.bucket):
            raise ValueError("the bucket's name must have 3 to 63 lower-case letters, digits, dots and hyphens")
        if self.endpoint and "${" not in self.endpoint:
            parts = urlsplit(self.endpoint)
            if parts.scheme not in ("https", "http") or not parts.hostname:
                raise ValueError("the endpoint must begin with https:// or http:// and name a host")
            if parts.username or parts.password or parts.query:
                raise ValueError("the endpoint must hold no user, password or query: keys have settings of their own")
        if any(part in (".", "..") for part in self.prefix.split("/")):
            raise ValueError("the prefix must not hold . or .. as a folder")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("accessKeyId and secretAccessKey belong together: give both or none")


def open_storage(
    config: Config,
    *,
    home: Path,
    environment: Mapping[str, str] = _NOTHING,
    patience: Patience | None = None,
    timeouts: Timeouts | None = None,
) -> S3Storage:
    """The storage that a destination's settings describe, with the AWS variables of `environment` where they have none.

    `home` is not used. Nothing is asked yet. Raises AccessDenied when there are no credentials at all."""
    credentials = _credentials(config, environment)
    endpoint = find_endpoint(config.region, config.endpoint, environment)
    return S3Storage(config.bucket, config.prefix, endpoint, credentials, patience=patience, timeouts=timeouts)


def _credentials(config: Config, environment: Mapping[str, str]) -> Credentials:
    """The destination's own keys; else those of the environment, never a mixture of both."""
    if config.access_key_id and config.secret_access_key:
        return Credentials(config.access_key_id, config.secret_access_key)
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        raise AccessDenied(
            f"There are no credentials for the bucket {config.bucket}.",
            hint="Give the destination accessKeyId and secretAccessKey, "
            "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    return Credentials(key, secret, environment.get("AWS_SESSION_TOKEN") or None)


@dataclass(frozen=True)
class _Body:
    """What is to be put: a buffer or a file, with its size in bytes and its hashes, read once and never whole."""

    data: bytes | Path
    size: int
    sha256: bytes
    md5: str

    @property
    def checksum(self) -> str:
        return base64.b64encode(self.sha256).decode()

    def open(self) -> BinaryIO:
        """From byte 0, for each try anew."""
        return self.data.open("rb") if isinstance(self.data, Path) else io.BytesIO(self.data)


class S3Storage:
    """Objects below a prefix of one bucket. Safe to use from several threads; `close` ends waiting between tries."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        patience: Patience | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.bucket = bucket
        self.endpoint = endpoint
        # Stores without conditional writes answer 501; from then on we look before we write, which is all one can do.
        self.creates_conditionally = True
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._credentials = credentials
        self._timeouts = timeouts or Timeouts()
        self._closed = threading.Event()
        self._patience = patience or replace(Patience(), sleep=self._closed.wait)
        self._lock = threading.Lock()
        self._made: Any = None

    def describe(self) -> str:
        place = f"s3://{self.bucket}/{self._prefix}".rstrip("/")
        return f"{place} at {self.endpoint.host}" if self.endpoint.url else place

    def initialise(self) -> None:
        """Only looks whether the bucket is there: whoever makes it decides on its region, locks and versions."""
        self._persist("", lambda: self._page("", None))

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._made is not None:
                self._made.close()

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        self._key(name)
        body = self._measure(name, data)
        in_doubt = False

        def attempt() -> None:
            nonlocal in_doubt
            if in_doubt and self._arrived(name, body, create=create):
                return
            try:
                self._put_once(name, body, create=create, in_doubt=in_doubt)
            except StorageError as error:
                in_doubt = in_doubt or error.transient
                raise

        self._persist(name, attempt)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        key = self._key(name)
        if length == 0:
            self.stat(name)
            return b""
        return self._persist(name, lambda: self._get_once(name, key, offset, length))

    def stat(self, name: str) -> Item:
        self._key(name)
        return self._persist(name, lambda: self._stat_once(name))

    def list(self, prefix: str) -> Iterator[Item]:
        folder = prefix.rstrip("/")
        start = self._prefix + (folder + "/" if folder else "")
        token: str | None = None
        while True:
            page = self._persist(prefix, lambda token=token: self._page(start, token))
            for found in page.get("Contents", ()):
                # Consoles make objects whose names end in / to show folders; they are none of ours.
                if not found["Key"].endswith("/") and found["Key"].startswith(start):
                    yield Item(found["Key"][len(self._prefix) :], found["Size"], _whole(found["LastModified"]))
            if not page.get("IsTruncated"):
                return
            last, token = token, page.get("NextContinuationToken")
            if not token or token == last:
                raise StorageError(f"{self.describe()} lists its objects without an end.", hint="Tell its provider.")

    def delete(self, name: str) -> None:
        key = self._key(name)
        in_doubt = False

        def attempt() -> None:
            nonlocal in_doubt
            try:
                self._stat_once(name)  # S3 says yes to deleting what is not there
                self.client.delete_object(Bucket=self.bucket, Key=key)
            except NotFound:
                if not in_doubt:
                    raise
            except _failures() as error:
                explained = self._explain(error, name)
                in_doubt = explained.transient
                raise explained from error

        self._persist(name, attempt)

    @property
    def client(self) -> Any:
        """botocore's client, made at its first use: it takes 0.2 s."""
        with self._lock:
            if self._made is None:
                self._made = open_client(self.endpoint, self._credentials, self._timeouts)
            return self._made

    def key(self, name: str) -> str:
        """The key of an object in the bucket."""
        return self._key(name)

    def _key(self, name: str) -> str:
        parts = name.split("/")
        if not all(parts) or any(part.startswith(".") for part in parts):
            raise ValueError(f"not a name of an object: {name!r}")
        return self._prefix + name

    def _persist(self, name: str, action: Callable[[], T]) -> T:
        """Call with patience; what botocore raises becomes the storage's own errors."""

        def attempt() -> T:
            try:
                return action()
            except _failures() as error:
                raise self._explain(error, name) from error

        return persist(attempt, self._patience)
