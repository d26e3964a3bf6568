"""The image without a container runtime: its rules, and its commands under its user, its paths and a code folder that
nobody may write."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.deploy import image as reading
from tests.deploy.image import Image
from tests.support.command import CHECKOUT, TIMEOUT_SECONDS

TEXT = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
KEY = "0f" * 32


@pytest.fixture(scope="module")
def image() -> Image:
    return reading.read(TEXT)


class Container:
    """The image laid out below a folder: `run` starts a command as its entry point would, as its user."""

    def __init__(self, image: Image, root: Path) -> None:
        self.image = image
        self.root = root
        self.code = root / "app"
        self.home = root / "data"
        self.tmp = root / "tmp"
        self.become = self._become()
        image.lay_out(root / "laid")
        (root / "laid/app").rename(self.code)
        (root / "opt").mkdir()
        (root / "opt/holdfast").symlink_to(sys.prefix)
        for folder in (self.home, self.tmp):
            folder.mkdir(0o700)
            if self.become:
                os.chown(folder, *map(int, image.user.split(":")))
        root.chmod(0o555)

    def _become(self) -> list[str]:
        """As the image says, where we may. Where the interpreter lies in a folder of root alone, the user may read
        (and not write) everywhere."""
        if os.geteuid() != 0:
            return []
        user, group = self.image.user.split(":")
        reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *reads]

    def environment(self, **more: str) -> dict[str, str]:
        said = {name: self.image.below(self.root, value) for name, value in self.image.environment.items()}
        return {**said, "PATH": f"{self.root}/laid/usr/local/bin:{said['PATH']}", "TMPDIR": str(self.tmp), **more}

    def start(self, words: list[str], **more: str) -> subprocess.Popen[str]:
        """`words` follow the entry point; its init program is the kernel's business here."""
        entry = self.image.entrypoint[self.image.entrypoint.index("--") + 1 :]
        return subprocess.Popen(
            [*self.become, *entry, *words],
            env=self.environment(**more),
            cwd=self.image.below(self.root, self.image.workdir),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **more: str) -> str:
        """What the command prints; an AssertionError when it does not end well."""
        process = self.start(list(words), **more)
        output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 0, errors
        return output

    def is_healthy(self, **more: str) -> bool:
        command = [*self.become, *(self.image.below(self.root, word) for word in self.image.healthcheck)]
        done = subprocess.run(command, env=self.environment(**more), capture_output=True, check=False)
        return done.returncode == 0


@pytest.fixture
def container(image: Image) -> Iterator[Container]:
    # Short, and open to other users: pytest's own folders are neither.
    root = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    made = Container(image, root)
    yield made
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o700)
    shutil.rmtree(root)


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def test_the_cron_job_s_command(container: Container) -> None:
    before = files(container.code)
    secret = container.home / "secret"
    secret.write_text(f"{KEY}\n")
    secret.chmod(0o444)
    told = {"BACKUP_ENCRYPTION_KEY_FILE": str(secret)}
    container.run("serve", "--setup", **told)
    container.run("config", "import", str(container.code / "configs" / "backup-files.json"), **told)
    folder = container.root / "app" / "configs"
    command = ["create", "--config", "files-backup", "--inline", "--json"]
    made = json.loads(container.run(*command, UPLOAD_DIR=str(folder), **told))
    assert made["status"] == "succeeded"
    assert made["files"]["total"] >= len(list((CHECKOUT / "configs").iterdir())), "the image lacks configurations"
    assert not (container.home / "backup.key").exists(), "the key of the file was not used"
    assert container.run("verify", "--all", **told).strip()
    assert files(container.code) == before


def test_a_writable_code_folder_is_not_needed(container: Container) -> None:
    """The protection that the other tests lean on: the user of the image cannot write there."""
    program = f"import pathlib; pathlib.Path({str(container.code)!r}, 'new').touch()"
    command = [*container.become, sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr


def test_the_service_and_its_health(container: Container) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bind = f"0.0.0.0:{probe.getsockname()[1]}"
    assert not container.is_healthy(HOLDFAST_BIND=bind)
    service = container.start(container.image.command, HOLDFAST_BIND=bind)
    try:
        deadline = monotonic() + TIMEOUT_SECONDS
        while not container.is_healthy(HOLDFAST_BIND=bind):
            assert service.poll() is None, service.communicate()[1]
            assert monotonic() < deadline, "it did not come"
            sleep(0.1)
        service.terminate()
        service.communicate(timeout=TIMEOUT_SECONDS)
        assert service.returncode == 0
    finally:
        service.kill()
        service.communicate()
    assert not container.is_healthy(HOLDFAST_BIND=bind)


def test_rules_of_the_image(image: Image) -> None:
    assert image.user != "root"
    assert int(image.user.split(":")[0]) > 0, "Kubernetes can only prove a number not to be root"
    for base in image.bases:
        assert re.search(r":\d", base), f"{base} is another one every day"
    for command in image.commands:
        if "apt-get install" in command:
            assert command.count("apt-get install") == command.count("--no-install-recommends")
            assert "rm -rf /var/lib/apt/lists/*" in command
    assert image.healthcheck
    assert image.command == ["serve"]
    assert image.volumes == [image.environment["HOLDFAST_HOME"]]
    assert "--require-hashes" in TEXT


def test_what_is_copied_is_there_and_not_ignored(image: Image) -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    sources = {source for group, _ in image.copied for source in group}
    assert sources | {"requirements.lock"} == allowed
    assert [source for source in sources if not (CHECKOUT / source).exists()] == []


def test_manifests_run_as_the_image_s_user(image: Image) -> None:
    user = image.user.split(":")[0]
    for path in (CHECKOUT / "deploy/kubernetes").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if "image: holdfast" in text:
            assert set(re.findall(r"(?:runAsUser|fsGroup): (\d+)", text)) == {user}, path.name
