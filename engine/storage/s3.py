"""A repository in a bucket of Amazon S3 or of any store that speaks its protocol.

One PUT an object, with a SHA-256 that the store compares and a condition that refuses to overwrite. When nobody knows
whether a PUT arrived, the store is asked before anything is sent again."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from engine.errors import AccessDenied, AlreadyExists, ShortRead, StorageError, Unavailable
from engine.storage import s3_client
from engine.storage.base import BadSetting, Buffer, Item
from engine.storage.retry import Patience, persist
from engine.storage.s3_body import Body, measure
from engine.storage.s3_client import Credentials, Endpoint, Timeouts
from engine.storage.s3_features import S3Features

TITLE = "Amazon S3 or compatible"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MD5_ETAG = re.compile(r"[0-9a-f]{32}")
_READ_BYTES = 1 << 20
_TAKEN, _BEYOND, _NOT_BUILT, _UNEXPLAINED = 412, 416, 501, (400, 401, 403, 404)
_NOTHING: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")


@dataclass(frozen=True)
class Config:
    """Settings of an S3 destination. `${…}` in a configuration is filled in later, so it is let through here. Raises
    BadSetting."""

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
            raise BadSetting("bucket", "must have 3 to 63 lower-case letters, digits, dots and hyphens")
        if self.endpoint and "${" not in self.endpoint:
            parts = urlsplit(self.endpoint)
            if parts.scheme not in ("https", "http") or not parts.hostname:
                raise BadSetting("endpoint", "must begin with https:// or http:// and name a host")
            if parts.username or parts.password or parts.query:
                raise BadSetting("endpoint", "must hold no user, password or query: keys have settings of their own")
        if any(part in (".", "..") for part in self.prefix.split("/")):
            raise BadSetting("prefix", "must not hold . or .. as a folder")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            lacking = "access_key_id" if self.access_key_id is None else "secret_access_key"
            raise BadSetting(lacking, "is missing: accessKeyId and secretAccessKey belong together")


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
    endpoint = s3_client.find_endpoint(config.region, config.endpoint, environment)
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


class S3Storage:
    """Objects below a prefix of one bucket. Safe to use from several threads; `close` ends waiting between tries."""

    requests_at_once = 4

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
        self._client: Any = None

    @property
    def client(self) -> Any:
        """botocore's client, made at its first use: it takes 0.2 s."""
        with self._lock:
            if self._client is None:
                self._client = s3_client.open_client(self.endpoint, self._credentials, self._timeouts)
            return self._client

    def describe(self) -> str:
        place = f"s3://{self.bucket}/{self._prefix}".rstrip("/")
        return f"{place} ({self.endpoint.host})" if self.endpoint.url else place

    def features(self) -> S3Features:
        """What the bucket and its store can do; see engine/storage/probe.py."""
        return S3Features(self)

    def initialise(self) -> None:
        """Only looks whether the bucket is there: whoever makes it decides on its region, versions and locks."""
        self.ask("", lambda: self._page("", None))

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._client is not None:
                self._client.close()

    def put(self, name: str, data: Buffer | Path, *, create: bool = True) -> None:
        self.key(name)
        body = measure(name, data)
        in_doubt = False

        def attempt() -> None:
            nonlocal in_doubt
            if in_doubt and self._arrived(name, body, create=create):
                return
            try:
                self._put_once(name, body, create=create, in_doubt=in_doubt)
            except s3_client.failures() as error:
                explained = self.explain(error, name)
                in_doubt = in_doubt or explained.transient
                raise explained from error

        self.ask(name, attempt)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.key(name)
        if length == 0:  # there is no such range, but whether the object exists is to be told
            self.stat(name)
            return b""
        return self.ask(name, lambda: self._get_once(name, offset, length))

    def stat(self, name: str) -> Item:
        self.key(name)
        return self.ask(name, lambda: self._stat_once(name))

    def list(self, prefix: str) -> Iterator[Item]:
        folder = prefix.rstrip("/")
        start = self._prefix + (f"{folder}/" if folder else "")
        token, page = None, self.ask(prefix, lambda: self._page(start, None))
        while True:
            for found in page.get("Contents", ()):
                # Consoles make objects whose names end in / to show folders; they are none of ours.
                if found["Key"].startswith(start) and not found["Key"].endswith("/"):
                    yield Item(found["Key"][len(self._prefix) :], found["Size"], _utc(found["LastModified"]))
            if not page.get("IsTruncated"):
                return
            last, token = token, page.get("NextContinuationToken")
            if not token or token == last:
                raise StorageError(f"{self.describe()} lists its objects without an end.", hint="Tell its provider.")
            page = self._next_page(start, token)

    def delete(self, name: str) -> None:
        key = self.key(name)
        in_doubt = False

        def attempt() -> None:
            nonlocal in_doubt
            try:
                self._stat_once(name)  # S3 says yes to deleting what is not there
            except s3_client.failures() as error:
                if in_doubt and s3_client.is_absent(error):
                    return
                raise
            try:
                self.client.delete_object(Bucket=self.bucket, Key=key)
            except s3_client.failures():
                in_doubt = True
                raise

        self.ask(name, attempt)

    def move(self, name: str, to: str) -> None:
        self.put(to, self.get(name))
        self.delete(name)

    def key(self, name: str) -> str:
        """The key of an object in the bucket. Raises ValueError for what is no name of an object."""
        parts = name.split("/")
        if not all(parts) or any(part.startswith(".") for part in parts):
            raise ValueError(f"not a name of an object: {name!r}")
        return self._prefix + name

    def ask(self, name: str, action: Callable[[], T]) -> T:
        """Call with patience; what botocore raises becomes the storage's own errors."""

        def attempt() -> T:
            try:
                return action()
            except s3_client.failures() as error:
                raise self.explain(error, name) from error

        return persist(attempt, self._patience)

    def explain(self, error: Exception, name: str) -> StorageError:
        """The storage's error for one of botocore's."""
        return s3_client.explain(error, self.endpoint, place=self.describe(), bucket=self.bucket, name=name)

    def _put_once(self, name: str, body: Body, *, create: bool, in_doubt: bool) -> None:
        """Raises AlreadyExists, Unavailable when other bytes arrived than were sent, and what botocore raises."""
        if create and not self.creates_conditionally and self._is_there(name):
            raise AlreadyExists(f"{name} exists at {self.describe()} already.")
        condition = {"IfNoneMatch": "*"} if create and self.creates_conditionally else {}
        try:
            with body.open() as file:
                answer = self.client.put_object(
                    Bucket=self.bucket, Key=self.key(name), Body=file, ChecksumSHA256=body.checksum, **condition
                )
        except s3_client.failures() as error:
            status = s3_client.status_of(error)
            if condition and status == _TAKEN:
                return self._settle_taken(name, body, in_doubt=in_doubt)
            if condition and status == _NOT_BUILT:
                self.creates_conditionally = False
                return self._put_once(name, body, create=create, in_doubt=in_doubt)
            raise
        if not _is_confirmed(answer, body) and not self._reads_back(name, body):
            if create:  # made by us just now, and nobody could use it; left there it would block its name for ever
                self.client.delete_object(Bucket=self.bucket, Key=self.key(name))
            raise Unavailable(
                f"{name} arrived at {self.describe()} with other bytes than were sent.",
                hint="Check the network and this machine's memory.",
                transient=True,
            )
        return None

    def _settle_taken(self, name: str, body: Body, *, in_doubt: bool) -> None:
        """The name is taken: by an earlier try of ours whose answer was lost, or by somebody else. AlreadyExists."""
        if not self._is_there(name):
            raise Unavailable(f"{name} was removed from {self.describe()} just now.", transient=True)
        if self._holds(name, body):
            if in_doubt:
                return
            raise AlreadyExists(f"{name} exists at {self.describe()} already.")
        raise AlreadyExists(
            f"{name} exists at {self.describe()} already, with other bytes.",
            hint="Run `backup-cli verify`: it may be damaged.",
        )

    def _arrived(self, name: str, body: Body, *, create: bool) -> bool:
        """Whether a PUT of unknown outcome was carried out. Raises StorageError when another object is there."""
        if not self._is_there(name):
            return False
        if self._holds(name, body):
            return True
        if create:
            raise StorageError(
                f"{name} at {self.describe()} holds other bytes than were sent.",
                hint="Run the backup again, then `backup-cli verify`.",
            )
        return False

    def _head(self, name: str) -> dict[str, Any]:
        """Raises what botocore raises, and Unavailable for an answer that describes no object."""
        key = self.key(name)
        try:
            head: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=key)
        except s3_client.failures() as error:
            if s3_client.status_of(error) in _UNEXPLAINED:
                # An answer to HEAD has no body: is the object absent or the bucket, and what is wrong with our keys?
                self.client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
            raise
        if not _etag(head) or "LastModified" not in head or "ContentLength" not in head:
            raise self._no_object(name)
        return head

    def _no_object(self, name: str) -> Unavailable:
        """An error in the disguise of an answer: some gateways do that."""
        return Unavailable(f"{self.describe()} answered without an object ({name}).", hint="Try later.", transient=True)

    def _is_there(self, name: str) -> bool:
        try:
            self._head(name)
        except s3_client.failures() as error:
            if s3_client.is_absent(error):
                return False
            raise
        return True

    def _holds(self, name: str, body: Body) -> bool:
        """Whether the object has exactly these bytes; read back where size and ETag do not prove it."""
        head = self._head(name)
        if head["ContentLength"] != body.size:
            return False
        return _etag(head) == body.md5 or self._reads_back(name, body)

    def _reads_back(self, name: str, body: Body) -> bool:
        sha256, size = hashlib.sha256(), 0
        with closing(self.client.get_object(Bucket=self.bucket, Key=self.key(name))["Body"]) as stream:
            while piece := stream.read(_READ_BYTES):
                sha256.update(piece)
                size += len(piece)
        return size == body.size and sha256.digest() == body.sha256

    def _get_once(self, name: str, offset: int, length: int | None) -> bytes:
        end = "" if length is None else str(offset + length - 1)
        wanted = {"Range": f"bytes={offset}-{end}"} if offset or end else {}
        place = self.describe()
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key(name), **wanted)
        except s3_client.failures() as error:
            if s3_client.status_of(error) != _BEYOND:
                raise
            if length is None:
                return b""
            raise ShortRead(f"{name} at {place} ends before byte {offset}.") from error
        with closing(answer["Body"]) as stream:
            try:
                data: bytes = stream.read()
            except s3_client.failures() as error:
                raise ShortRead(f"{name} at {place} broke off while it was read.", transient=True) from error
        if not _etag(answer):
            raise self._no_object(name)
        if len(data) != answer.get("ContentLength", len(data)):
            raise ShortRead(f"{name} at {place} broke off after {len(data)} bytes.", transient=True)
        if wanted and answer["ResponseMetadata"]["HTTPStatusCode"] == 200:  # the store knows no ranges
            data = data[offset:] if length is None else data[offset : offset + length]
        if length is not None and len(data) != length:
            raise ShortRead(f"{name} at {place} ends after {offset + len(data)} bytes.")
        return data

    def _stat_once(self, name: str) -> Item:
        head = self._head(name)
        return Item(name, head["ContentLength"], _utc(head["LastModified"]))

    def _next_page(self, start: str, token: str) -> dict[str, Any]:
        return self.ask(start, lambda: self._page(start, token))

    def _page(self, start: str, token: str | None) -> dict[str, Any]:
        """Up to 1,000 objects, and how to go on."""
        more = {"ContinuationToken": token} if token else {}
        page: dict[str, Any] = self.client.list_objects_v2(Bucket=self.bucket, Prefix=start, **more)
        return page


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _is_confirmed(answer: Mapping[str, Any], body: Body) -> bool:
    """Whether the answer to a PUT proves that the store has our bytes: by its ETag, which the store computed itself,
    or, where that is no MD5 (encryption by KMS), by the SHA-256 that it compared."""
    etag = _etag(answer)
    if etag == body.md5:
        return True
    is_md5 = _MD5_ETAG.fullmatch(etag) and "kms" not in str(answer.get("ServerSideEncryption", ""))
    return not is_md5 and answer.get("ChecksumSHA256") == body.checksum


def _utc(moment: datetime) -> datetime:
    """Whole seconds, as HEAD knows them: the same object has the same age however it was asked for."""
    return moment.astimezone(UTC).replace(microsecond=0)
