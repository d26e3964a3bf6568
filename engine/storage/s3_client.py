"""What S3Storage needs of botocore: a client that takes nothing from the surroundings, and errors as sentences.

Only what the caller passes counts: no profiles, no files below the home folder, no metadata service, no variables."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from engine.errors import AccessDenied, NotFound, StorageError, Unavailable
from engine.storage.retry import Throttled

DEFAULT_REGION = "us-east-1"
_CONNECTIONS = 16
_LONGEST_DETAIL = 200
# botocore's clients may be shared by threads, the session that makes them may not.
_MAKING = threading.Lock()

# Codes of Amazon and of the stores that follow it. What is in no group is judged by its HTTP status.
_WRONG_REGION = {"301", "307", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"}
_WRONG_REGION |= {"IllegalLocationConstraintException", "InvalidRegionError"}
_FULL = {"QuotaExceeded", "QuotaExceededException", "StorageQuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}
_FULL |= {"XMinioAdminBucketQuotaExceeded", "StorageFull", "OverQuota", "EntityTooLargeForQuota"}
_BUSY = {"SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests"}
_BUSY |= {"RequestLimitExceeded", "BandwidthLimitExceeded"}
# Refusals that say that nothing was stored because something happened on the way: the same request may work next time.
_SPOILED = {"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch", "InvalidDigest"}
_SPOILED |= {"XAmzContentChecksumMismatch", "ConditionalRequestConflict", "OperationAborted"}
_CREDENTIALS = {
    "InvalidAccessKeyId": ("does not know the access key", "Check the access key id, and that it was not deleted."),
    "SignatureDoesNotMatch": (
        "refuses the signature: the secret key does not fit the access key",
        "Check the secret access key.",
    ),
    "RequestTimeTooSkewed": ("refuses us: this machine's clock is wrong", "Set the clock, best by NTP."),
    "RequestExpired": ("refuses us: this machine's clock is wrong", "Set the clock, best by NTP."),
    "InvalidToken": ("does not accept the session token", "Get new temporary credentials."),
    "AccountProblem": ("refuses us: there is a problem with the account", "Ask the provider."),
    "AllAccessDisabled": ("refuses all access", "Ask the provider."),
}
_EXPIRED = ("refuses us: the credentials have expired", "Renew them, then try again.")
_CREDENTIALS |= dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), _EXPIRED)
_REFUSED = (
    "may not be used with these credentials",
    "They need ListBucket, GetObject, PutObject and DeleteObject on the bucket.",
)


@dataclass(frozen=True)
class Credentials:
    """Access key and secret, and the token of temporary ones."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Timeouts:
    """Seconds until a connection must stand, and until something must be heard on it."""

    connect: float = 10.0
    read: float = 60.0


@dataclass(frozen=True)
class Endpoint:
    """Where the store is: `url` None means Amazon. `authorities` is a file of certificates to trust instead."""

    region: str
    url: str | None = None
    authorities: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The store's name for people."""
        return urlsplit(self.url).netloc if self.url else f"Amazon S3 in {self.region}"


def find_endpoint(region: str | None, url: str | None, environment: Mapping[str, str]) -> Endpoint:
    """The endpoint of a destination: its own settings, else the variables that are usual."""
    found = region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
    return Endpoint(found, url, environment.get("AWS_CA_BUNDLE") or None, _proxies(url, environment))


def _proxies(url: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """HTTP_PROXY and HTTPS_PROXY, unless NO_PROXY names the store's host or a domain above it."""
    lower = {name.lower(): value for name, value in environment.items() if value}
    host = (urlsplit(url).hostname if url else None) or "amazonaws.com"
    for direct in (part.strip().lstrip(".").lower() for part in lower.get("no_proxy", "").split(",")):
        if direct == "*" or (direct and f".{host}".endswith(f".{direct}")):
            return {}
    return {scheme: lower[f"{scheme}_proxy"] for scheme in ("http", "https") if f"{scheme}_proxy" in lower}


def open_client(endpoint: Endpoint, credentials: Credentials, timeouts: Timeouts) -> Any:
    """A thread-safe botocore client that tries everything once. Raises StorageError for an impossible endpoint."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    if endpoint.authorities and not os.path.isfile(endpoint.authorities):
        raise Unavailable(
            f"The file of certificates {endpoint.authorities} is not there.", hint="Mend or unset AWS_CA_BUNDLE."
        )
    config = Config(
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
        max_pool_connections=_CONNECTIONS,
        tcp_keepalive=True,
        retries={"total_max_attempts": 1, "mode": "standard"},
        # Other stores break on the checksums that botocore adds by itself; we send our own SHA-256.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint.url else "auto", "us_east_1_regional_endpoint": "regional"},
        proxies=dict(endpoint.proxies),
        ignore_configured_endpoint_urls=True,
        user_agent_extra="holdfast",
    )
    try:
        with _MAKING:
            return _session().create_client(
                "s3",
                region_name=endpoint.region,
                endpoint_url=endpoint.url,
                verify=endpoint.authorities or True,
                aws_access_key_id=credentials.access_key_id,
                aws_secret_access_key=credentials.secret_access_key,
                aws_session_token=credentials.session_token,
                config=config,
            )
    except (BotoCoreError, ValueError, OSError) as error:
        raise StorageError(
            f"{endpoint.host} cannot be used: {_detail(error)}.", hint="Check the endpoint and the region."
        ) from error


@cache
def _session() -> Any:
    """One for all clients, as it reads large tables. Each setting keeps its default but loses its environment variable
    and its place in files, and the files are none."""
    from botocore.session import Session

    blank = {name: (None, None, default, cast) for name, (_, _, default, cast) in Session.SESSION_VARIABLES.items()}
    blank |= dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return Session(session_vars=blank)


def failures() -> tuple[type[Exception], ...]:
    """Everything that botocore and what lies below it raise when a request fails."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    return BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError


def code_of(error: Exception) -> str:
    """The store's own code for what went wrong; empty when the store did not answer."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """The HTTP status; 0 when the store did not answer."""
    response = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_absent(error: Exception) -> bool:
    """Whether the object, and not the bucket, is not there."""
    return status_of(error) == 404 and code_of(error) != "NoSuchBucket"


def explain(error: Exception, endpoint: Endpoint, *, place: str, bucket: str, name: str) -> StorageError:
    """The storage's error for one of botocore's: one sentence, what to do, and whether trying again makes sense."""
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return _explain_silence(error, endpoint, place)
    code, status = code_of(error), status_of(error)
    if code == "NoSuchBucket":
        return Unavailable(
            f"There is no bucket {bucket} at {endpoint.host}.",
            hint="Create it, or check its name, the region and the endpoint.",
        )
    if code in ("NoSuchKey", "404") or status == 404:
        return NotFound(f"{name} does not exist at {place}.")
    if code in _FULL or status == 507:
        return Unavailable(f"{place} is full.", hint="Raise its quota or run `backup-cli cleanup`, then try again.")
    if code in _WRONG_REGION or status in (301, 307):
        return _wrong_region(error, endpoint, bucket)
    if code in _CREDENTIALS or status in (401, 403):
        what, hint = _CREDENTIALS.get(code, _REFUSED)
        return AccessDenied(f"{place} {what}.", hint=hint)
    if code in _BUSY or status in (429, 503):
        return Throttled(
            f"{place} asks us to slow down ({code or status}).", hint="Try later.", retry_after=_retry_after(error)
        )
    if code in _SPOILED or status in (408, 409) or (status >= 500 and status != 501):
        return Unavailable(f"{place} failed: {code or status} ({name}).", hint="Try later.", transient=True)
    message = str(error.response.get("Error", {}).get("Message", ""))
    return StorageError(f"{place} refused a request: {code or status} {_printable(message)} ({name}).")


def _explain_silence(error: Exception, endpoint: Endpoint, place: str) -> StorageError:
    """What to say when there was no answer, or none that can be read."""
    from botocore import exceptions as aws

    cause = getattr(error, "kwargs", {}).get("error", error)
    if isinstance(error, aws.SSLError):
        return _untrusted(cause, endpoint)
    if type(cause).__name__ in ("NameResolutionError", "gaierror"):
        return Unavailable(
            f"The name of {endpoint.host} cannot be resolved.",
            hint="Check the endpoint, the region, and this machine's network and DNS.",
            transient=True,
        )
    if isinstance(error, aws.ParamValidationError):
        return StorageError(f"{place} cannot be asked for that: {_detail(error)}.")
    if isinstance(error, (aws.ConnectTimeoutError, aws.ReadTimeoutError)):
        what = "does not answer in time"
    elif isinstance(error, (aws.EndpointConnectionError, aws.ProxyConnectionError)):
        what = f"cannot be reached ({_reason(cause)})"
    else:
        what = f"broke off the conversation ({_reason(cause)})"
    return Unavailable(f"{endpoint.host} {what}.", hint="Check the network.", transient=True)


def _untrusted(cause: object, endpoint: Endpoint) -> Unavailable:
    """TLS failed: cut off by the network, or there is nobody to trust."""
    text = str(cause)
    if "EOF" in text or "RESET" in text.upper():
        return Unavailable(
            f"{endpoint.host} broke off the conversation (TLS).", hint="Check the network.", transient=True
        )
    hint = "Does the store speak TLS? If it does not, its endpoint begins with http://."
    if "CERTIFICATE" in text:
        hint = "If the store has a certificate authority of its own, name its file in AWS_CA_BUNDLE."
    return Unavailable(f"No trusted connection to {endpoint.host}: {_detail(cause)}.", hint=hint)


def _reason(cause: object) -> str:
    """What the operating system says, where it was asked; else the kind of error."""
    seen: object = cause
    while isinstance(seen, BaseException):
        if isinstance(seen, OSError) and seen.errno:
            return os.strerror(seen.errno).lower()
        seen = seen.__cause__ or seen.__context__
    return type(cause).__name__


def _wrong_region(error: Exception, endpoint: Endpoint, bucket: str) -> Unavailable:
    response = getattr(error, "response", {})
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    if region:
        region = _printable(str(region))
        return Unavailable(
            f"The bucket {bucket} is in the region {region}, not in {endpoint.region}.",
            hint=f"Set the destination's region to {region}.",
        )
    return Unavailable(
        f"The bucket {bucket} is in another region than {endpoint.region}.", hint="Set the bucket's own region."
    )


def _retry_after(error: Exception) -> float:
    headers = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    asked = str(headers.get("retry-after", ""))
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0


def _detail(error: object) -> str:
    return _printable(str(getattr(error, "verify_message", "") or error)).rstrip(".")


def _printable(text: str) -> str:
    """What a store or a library said, short and on one line."""
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_DETAIL].strip()
