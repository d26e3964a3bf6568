"""Stores that speak S3 over real HTTP: moto, which believes everything, and SeaweedFS, which checks signatures,
checksums and conditions. Usable without pytest; both end with us, SeaweedFS even when we are killed (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.storage import s3
from engine.storage.retry import Patience
from engine.storage.s3 import S3Storage
from engine.storage.s3_client import Timeouts

BUCKET = "holdfast-tests"
LOCKED_BUCKET = "holdfast-locked"
ACCESS_KEY, SECRET_KEY = "holdfast-tester", "a/secret+key=for%tests"
START_SECONDS = 60
# Tests do not wait between tries, but they try as often as the real thing.
NO_WAITING = Patience(sleep=lambda seconds: None)
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Store:
    """A store that runs, with a bucket. `storage` opens a place of its own in it, or any other that is asked for."""

    name: str
    endpoint: str
    bucket: str = BUCKET
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def behind(self, endpoint: str) -> Store:
        """The same store, reached through a proxy."""
        return replace(self, endpoint=endpoint)

    def config(self, **changes: Any) -> s3.Config:
        settings = {
            "bucket": self.bucket,
            "endpoint": self.endpoint,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
        }
        return s3.Config(**(settings | changes))

    def storage(
        self, prefix: str = "", *, patience: Patience = NO_WAITING, read_seconds: float = 20.0, **changes: Any
    ) -> S3Storage:
        """A storage below `prefix`, or below a fresh one."""
        config = self.config(prefix=prefix or f"test/{secrets.token_hex(6)}", **changes)
        timeouts = Timeouts(connect=5.0, read=read_seconds)
        return s3.open_storage(config, home=Path("/"), environment={}, patience=patience, timeouts=timeouts)

    def make_buckets(self) -> None:
        client = self.storage().client
        client.create_bucket(Bucket=self.bucket)
        client.create_bucket(Bucket=LOCKED_BUCKET, ObjectLockEnabledForBucket=True)
        client.close()


@contextlib.contextmanager
def start_moto() -> Iterator[Store]:
    """moto in threads of this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # All servers of one process share what they keep: a bucket of its own keeps tests apart.
        store = Store("moto", f"http://{host}:{port}", bucket=f"{BUCKET}-{port}")
        store.make_buckets()
        yield store
    finally:
        server.stop()


@contextlib.contextmanager
def start_seaweed() -> Iterator[Store]:
    """A real SeaweedFS: master, volumes, filer and S3 gateway in one process, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-s3-"))
    ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
    process = _launch(folder, ports)
    try:
        store = Store("seaweed", f"http://127.0.0.1:{ports['s3']}")
        _wait_until_ready(process, store, folder)
        store.make_buckets()
        yield store
    finally:
        process.kill()  # nothing in it is worth a slow farewell
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        for service in ("master-grpc", "volume-grpc", "filer-grpc", "s3-grpc"):
            port = ports[service.removesuffix("-grpc")] + 1
            Path(f"/tmp/seaweedfs-{service}-{port}.sock").unlink(missing_ok=True)  # wherever temporary files go


def _launch(folder: Path, ports: dict[str, int]) -> subprocess.Popen[bytes]:
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    weed = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if weed is None:
        raise LookupError("SeaweedFS is not installed: install requirements-dev.lock")
    options = [f"-{service}.port={port}" for service, port in ports.items()]
    options += [f"-{service}.port.grpc={port + 1}" for service, port in ports.items()]
    options += [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}",
        "-volume.max=60",
        "-master.volumeSizeLimitMB=64",
        "-master.telemetry=false",  # tests talk to nobody
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",  # as Amazon: a bucket that is not there is an error
    ]
    with (folder / "log").open("wb") as log, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork where threads run: one call
        return subprocess.Popen(
            [weed, "server", *options],
            cwd=folder,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def _wait_until_ready(process: subprocess.Popen[bytes], store: Store, folder: Path) -> None:
    """Until it answers and has a volume to write to; the gateway answers some time before that."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.HTTPError, OSError):
            urllib.request.urlopen(f"{store.endpoint}/healthz", timeout=5).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"SeaweedFS did not start: {(folder / 'log').read_text()[-2000:]}")


def _free_ports(count: int) -> list[int]:
    """Free ports whose next higher ones are free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            second.bind(("127.0.0.1", port + 1))
            if not any(abs(port - other) < 2 for other in found):
                found.append(port)
    return found
