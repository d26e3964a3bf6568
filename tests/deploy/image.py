"""The Dockerfile, read: what its last stage says, and what it makes of the checkout without a container runtime."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command import CHECKOUT


@dataclass
class Image:
    """Of the last stage. `copied` are (sources, target) from the checkout, `bases` all images that are built upon."""

    bases: list[str] = field(default_factory=list)
    copied: list[tuple[list[str], str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    user: str = "root"
    workdir: str = "/"
    volumes: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def below(self, root: Path, text: str) -> str:
        """A text of the image with its absolute paths below `root`."""
        return re.sub(r"(?<![\w.])/(app|data|opt/holdfast)\b", rf"{root}/\1", text)

    def lay_out(self, root: Path) -> None:
        """Copies what it copies to where it copies it, below `root`; nobody may write there then."""
        for sources, target in self.copied:
            for source in sources:
                here = CHECKOUT / source
                into = root / target.lstrip("/")
                there = into / here.name if target.endswith("/") else into
                there.parent.mkdir(parents=True, exist_ok=True)
                if here.is_dir():
                    shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(here, there)
        for folder, _, files in os.walk(root):
            for name in files:
                path = Path(folder, name)
                path.chmod(0o555 if os.access(path, os.X_OK) else 0o444)
            Path(folder).chmod(0o555)


def read(text: str) -> Image:
    """The image that the Dockerfile describes. Raises ValueError for an instruction that is not known here."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    image, stages = Image(), set[str]()
    for line in re.sub(r"\\\n", " ", lines).splitlines():
        if not line.strip():
            continue
        word, rest = line.split(None, 1)
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages.add(stage)
            image = Image(bases=[*image.bases, base])
        elif word == "COPY" and not rest.startswith("--from="):
            *sources, target = rest.split()
            image.copied.append((sources, target))
        elif word == "ENV":
            image.environment |= dict(part.split("=", 1) for part in rest.split())
        elif word == "RUN":
            image.commands.append(rest)
        elif word in ("USER", "WORKDIR"):
            setattr(image, word.lower(), rest.strip())
        elif word == "VOLUME":
            image.volumes.append(rest.strip())
        elif word == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif word == "CMD":
            image.command = json.loads(rest)
        elif word == "HEALTHCHECK":
            image.healthcheck = json.loads(rest.partition(" CMD ")[2])
        elif word not in ("ARG", "EXPOSE", "COPY"):
            raise ValueError(f"{word} is not known here.")
    return image
