"""What no retry mends: one sentence that says what is wrong, a hint what to do, and nothing tried again."""

from __future__ import annotations

import os
import socket
import ssl
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from engine.errors import AccessDenied, AlreadyExists, EngineError, NotFound, StorageError, Unavailable
from engine.storage import s3
from engine.storage.retry import Patience
from engine.storage.s3_body import LARGEST_BYTES
from tests.support.fault_proxy import Act, answer, fault_proxy
from tests.support.repositories import Bench
from tests.support.s3 import NO_WAITING, SECRET_KEY, Store

NAME = "packs/ab/" + "ab" * 32
MALFORMED = answer(400, "AuthorizationHeaderMalformed", extra="<Region>eu-central-1</Region>")
MOVED = answer(301, "PermanentRedirect", headers={"x-amz-bucket-region": "eu-central-1"})
REFUSALS: dict[str, tuple[Act, type[EngineError], str, str]] = {
    "permissions": (answer(403, "AccessDenied"), AccessDenied, "may not be used with these", "PutObject"),
    "expired": (answer(400, "ExpiredToken"), AccessDenied, "credentials have expired", "Renew"),
    "bad token": (answer(400, "InvalidToken"), AccessDenied, "session token", "temporary"),
    "clock": (answer(403, "RequestTimeTooSkewed"), AccessDenied, "this machine's clock is wrong", "NTP"),
    "region": (MALFORMED, Unavailable, "in the region eu-central-1, not in us-east-1", "region to eu-central-1"),
    "moved": (MOVED, Unavailable, "in the region eu-central-1, not in us-east-1", "region to eu-central-1"),
    "quota": (answer(403, "QuotaExceeded"), Unavailable, "is full", "cleanup"),
    "full": (answer(507), Unavailable, "is full", "quota"),
    "nonsense": (answer(400, "InvalidArgument"), StorageError, "refused a request: InvalidArgument planned", ""),
}


def refusal(action: Any) -> EngineError:
    """The error that an action ends with."""
    with pytest.raises(EngineError) as caught:
        action()
    return caught.value


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_explained_and_not_repeated(seaweed: Store, kind: str) -> None:
    act, expected, message, hint = REFUSALS[kind]
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(act)
        storage = seaweed.behind(proxy.url).storage()
        actions = [lambda: storage.put(NAME, b"x"), lambda: storage.get(NAME), lambda: list(storage.list("packs/"))]
        for action in actions:
            error = refusal(action)
            assert type(error) is expected
            assert message in error.message
            assert hint in error.hint
            assert not error.transient
            assert SECRET_KEY not in str(error) + repr(error.__cause__)
        storage.close()
    # botocore looks itself for the bucket's right region, once or twice for each request.
    assert 3 <= fault.hits <= (12 if kind in ("region", "moved") else 3)


def test_a_refused_look_at_an_object_is_explained_too(seaweed: Store) -> None:
    """The answer to HEAD has no body, so another question is asked that has one."""
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(answer(403, "RequestTimeTooSkewed"))
        storage = seaweed.behind(proxy.url).storage()
        assert "clock" in refusal(lambda: storage.stat(NAME)).message
        storage.close()
    assert fault.hits == 2


@pytest.mark.parametrize(
    ("changes", "expected", "message", "hint"),
    [
        ({"bucket": "no-such-bucket"}, Unavailable, "There is no bucket no-such-bucket", "Create it"),
        ({"secret_access_key": "wrong"}, AccessDenied, "secret key does not fit", "Check the secret"),
        ({"access_key_id": "nobody"}, AccessDenied, "does not know the access key", "Check the access key"),
        ({"region": "no region"}, StorageError, "cannot be used: .*region", "region"),
        ({"endpoint": "http://127.0.0.1:1"}, Unavailable, "cannot be reached .connection refused.", "network"),
    ],
)
def test_settings_that_cannot_work(
    seaweed: Store, tmp_path: Path, changes: dict[str, str], expected: type[EngineError], message: str, hint: str
) -> None:
    """Of the real store, at each method, and at the first look that a backup takes."""
    storage = seaweed.storage(**changes)
    actions = [
        storage.initialise,
        lambda: storage.put(NAME, b"x"),
        lambda: storage.get(NAME),
        lambda: storage.stat(NAME),
        lambda: list(storage.list("")),
        lambda: storage.delete(NAME),
        lambda: Bench(tmp_path).create(storage),
    ]
    for action in actions:
        with pytest.raises(expected, match=message) as caught:
            action()
        assert hint in caught.value.hint
        assert not isinstance(caught.value, NotFound)
    storage.close()


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver is stood in for: tests ask nobody outside of this machine."""
    asked: list[str] = []

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    storage = Store("none", "http://nowhere.invalid").storage()
    error = refusal(lambda: storage.stat(NAME))
    assert "The name of nowhere.invalid cannot be resolved" in error.message
    assert "DNS" in error.hint
    assert asked == ["nowhere.invalid"] * NO_WAITING.tries  # networks come back
    storage.close()


def test_a_store_without_tls_behind_an_https_address(seaweed: Store) -> None:
    storage = seaweed.storage(endpoint=seaweed.endpoint.replace("http://", "https://"))
    error = refusal(lambda: storage.stat(NAME))
    assert "No trusted connection" in error.message
    assert "http://" in error.hint
    assert not error.transient
    storage.close()


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    """TLS is always verified; an authority of one's own is named in AWS_CA_BUNDLE, and must be there."""
    import threading

    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = Store("tls", f"https://localhost:{listener.getsockname()[1]}").config()

        def serve() -> None:
            for _ in range(2):
                raw, _ = listener.accept()
                with raw:
                    try:
                        with context.wrap_socket(raw, server_side=True) as trusted:
                            trusted.recv(4096)
                            trusted.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
                    except ssl.SSLError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        once = Patience(tries=1)
        doubting = s3.open_storage(config, home=tmp_path, environment={}, patience=once)
        error = refusal(lambda: doubting.stat(NAME))
        assert "certificate" in error.message
        assert "AWS_CA_BUNDLE" in error.hint
        trusting = s3.open_storage(
            config, home=tmp_path, environment={"AWS_CA_BUNDLE": str(certificate)}, patience=once
        )
        assert "slow down" in refusal(lambda: trusting.stat(NAME)).message
        thread.join(30)
        doubting.close()
        trusting.close()
    lost = s3.open_storage(config, home=tmp_path, environment={"AWS_CA_BUNDLE": str(tmp_path / "none")}, patience=once)
    assert "file of certificates" in refusal(lambda: lost.stat(NAME)).message


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


def test_nothing_is_taken_from_the_surroundings(moto: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, profiles and variables of other programs change nothing; only what is passed counts."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id=leaked\naws_secret_access_key=leaked\n"
    )
    (tmp_path / ".aws" / "config").write_text("[default]\nregion=eu-west-9\nendpoint_url=http://127.0.0.1:1\n")
    leaks = {"AWS_ACCESS_KEY_ID": "leaked", "AWS_SECRET_ACCESS_KEY": "leaked", "AWS_PROFILE": "nobody"}
    leaks |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "HOME": str(tmp_path)}
    leaks |= {"AWS_REGION": "eu-west-9", "REQUESTS_CA_BUNDLE": "/nowhere"}
    for name, value in leaks.items():
        monkeypatch.setenv(name, value)
    keyless = moto.config(access_key_id=None, secret_access_key=None)
    error = refusal(lambda: s3.open_storage(keyless, home=tmp_path, environment={}))
    assert "no credentials" in error.message
    assert "AWS_ACCESS_KEY_ID" in error.hint
    storage = moto.storage()
    storage.put(NAME, b"x")
    assert storage.client.meta.region_name == "us-east-1"
    signed = storage.client.generate_presigned_url("get_object", Params={"Bucket": moto.bucket, "Key": "k"})
    assert "leaked" not in signed
    storage.close()
    amazon = moto.storage(endpoint=None, region="eu-central-1")
    assert amazon.client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
    amazon.close()


def test_the_variables_that_are_passed_fill_in_what_the_destination_lacks(seaweed: Store, tmp_path: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": seaweed.access_key, "AWS_SECRET_ACCESS_KEY": seaweed.secret_key}
    keyless = seaweed.config(access_key_id=None, secret_access_key=None, prefix="from/variables")
    storage = s3.open_storage(
        keyless, home=tmp_path, environment=environment | {"AWS_REGION": "eu-west-3"}, patience=NO_WAITING
    )
    storage.put(NAME, b"x")
    assert storage.client.meta.region_name == "eu-west-3"
    storage.delete(NAME)
    storage.close()
    own = seaweed.config(prefix="own")  # its own keys win, and no session token is mixed in
    mixed = s3.open_storage(
        own, home=tmp_path, environment={"AWS_SESSION_TOKEN": "other", "AWS_ACCESS_KEY_ID": "other"}
    )
    mixed.put(NAME, b"x")
    mixed.delete(NAME)
    mixed.close()


def test_a_proxy_is_used_where_one_is_named(seaweed: Store, tmp_path: Path) -> None:
    environment = {"http_proxy": "http://127.0.0.1:1"}
    for exception, reached in (("", False), ("example.org, 127.0.0.1", True), ("*", True), (".0.1", True)):
        storage = s3.open_storage(
            seaweed.config(),
            home=tmp_path,
            environment=environment | {"NO_PROXY": exception},
            patience=Patience(tries=1),
        )
        if reached:
            storage.initialise()
        else:
            assert "cannot be reached" in refusal(storage.initialise).message
        storage.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bucket": "No"}, "3 to 63 lower-case"),
        ({"bucket": "abc", "endpoint": "minio:9000"}, "begin with https:// or http://"),
        ({"bucket": "abc", "endpoint": "https://"}, "name a host"),
        ({"bucket": "abc", "endpoint": "https://key:secret@host"}, "no user, password"),
        ({"bucket": "abc", "prefix": "a/../b"}, "must not hold"),
        ({"bucket": "abc", "access_key_id": "x"}, "belong together"),
    ],
)
def test_settings_that_are_none(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        s3.Config(**settings)


def test_secrets_are_not_shown(seaweed: Store) -> None:
    storage = seaweed.storage()
    shown = repr(seaweed.config()) + storage.describe() + repr(vars(storage))
    assert SECRET_KEY not in shown
    assert seaweed.bucket in storage.describe()


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/../b", "./a", "a/.hidden"])
def test_names_that_are_none(seaweed: Store, name: str) -> None:
    storage = seaweed.storage()
    for action in (lambda: storage.put(name, b""), lambda: storage.get(name), lambda: storage.delete(name)):
        with pytest.raises(ValueError, match="not a name"):
            action()


def test_objects_of_other_tools_beside_ours(seaweed: Store) -> None:
    """Marks that consoles make for folders are not listed; odd names are listed as they are."""
    storage = seaweed.storage("test/neighbours")
    odd = ["packs/a b+c%41&=#'\"()ü~*", "packs/x:b@c,d;e!$.z", "packs/q?a=1"]
    for name in odd:
        storage.put(name, name.encode())
    storage.client.put_object(Bucket=seaweed.bucket, Key="test/neighbours/marks/", Body=b"")
    storage.client.put_object(Bucket=seaweed.bucket, Key="test/neighbours2/x", Body=b"")
    assert sorted(item.name for item in storage.list("")) == sorted(odd)
    assert [storage.get(name) for name in odd] == [name.encode() for name in odd]
    storage.close()


def test_an_object_has_the_same_age_however_it_is_asked_for(seaweed: Store) -> None:
    """Some stores list fractions of a second, which HEAD cannot tell."""
    found = f"<Key>ages/{NAME}</Key><Size>1</Size><LastModified>2026-11-23T04:05:06.789Z</LastModified>"
    page = f"<ListBucketResult><Contents>{found}</Contents></ListBucketResult>".encode()
    head = {"ETag": '"e"', "Last-Modified": "Mon, 23 Nov 2026 04:05:06 GMT", "Content-Length": "1"}
    with fault_proxy(seaweed.endpoint) as proxy:
        proxy.plan(lambda exchange: exchange.reply(200, {}, page), path="list-type=2")
        proxy.plan(lambda exchange: exchange.reply(200, head, b""), methods="HEAD")
        storage = seaweed.behind(proxy.url).storage("ages")
        assert list(storage.list("packs/")) == [storage.stat(NAME)]
        storage.close()


def test_another_object_under_the_name_is_told_apart_from_the_same_one(seaweed: Store) -> None:
    storage = seaweed.storage()
    storage.put(NAME, b"first")
    with pytest.raises(AlreadyExists) as same:
        storage.put(NAME, b"first")
    with pytest.raises(AlreadyExists, match="with other bytes") as other:
        storage.put(NAME, b"other")
    assert (same.value.hint, "verify" in other.value.hint) == ("", True)
    storage.close()


def test_a_file_is_sent_without_being_held_in_memory(seaweed: Store, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.write_bytes(os.urandom(1 << 20) * 32)
    storage = seaweed.storage()
    storage.put("packs/warm", b"up")
    tracemalloc.start()
    try:
        storage.put(NAME, pack)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert storage.stat(NAME).size == 32 << 20
    storage.close()


def test_what_is_too_large_or_gone_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    storage = Store("none", "http://127.0.0.1:1").storage()
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with pytest.raises(StorageError, match="too large"):
        storage.put(NAME, tmp_path / "large")
    with pytest.raises(Unavailable, match="cannot be read: no such file"):
        storage.put(NAME, tmp_path / "gone")


def test_a_closed_storage_waits_no_longer(seaweed: Store, tmp_path: Path) -> None:
    with fault_proxy(seaweed.endpoint) as proxy:
        fault = proxy.plan(answer(500, "InternalError"))
        storage = s3.open_storage(seaweed.behind(proxy.url).config(), home=tmp_path, environment={})
        storage.close()
        assert refusal(lambda: storage.put(NAME, b"x")).transient
        storage.close()
    assert fault.hits == 1
