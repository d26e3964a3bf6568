"""Pages whose `console` blocks are run: every command in one shell, its output beside what the page prints.

In a page a line that begins with `$ ` is a command and what follows is its output, stderr included; `…` stands for any
text in a line, and alone for any lines."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROMPT = "$ "
ANY = "…"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One command of a page and the lines that it says the command prints."""

    line: int
    command: str
    printed: tuple[str, ...]

    def differs(self, output: str) -> str:
        """How what the command printed differs from the page; "" when it does not."""
        wanted = "".join(_pattern(line) for line in self.printed)
        if re.fullmatch(wanted, output if output.endswith("\n") or not output else output + "\n"):
            return ""
        page = "\n".join(self.printed)
        return f"line {self.line}: {self.command}\n--- the page\n{page}\n--- printed\n{output}"


def steps(markdown: str) -> list[Step]:
    """The commands of all console blocks, in order."""
    found: list[Step] = []
    for block in _BLOCK.finditer(markdown):
        number = markdown.count("\n", 0, block.start(1)) + 1
        for offset, line in enumerate(block[1].splitlines()):
            if line.startswith(PROMPT):
                found.append(Step(number + offset, line.removeprefix(PROMPT), ()))
            else:
                last = found.pop()
                found.append(Step(last.line, last.command, (*last.printed, line)))
    return found


def run(commands: list[Step], *, folder: Path, environment: Mapping[str, str], timeout: float = 300) -> list[str]:
    """What each command printed, all of them in one shell, as somebody types them."""
    mark = f"--- {secrets.token_hex(8)}"
    script = "".join(f"{step.command}\nprintf '%s\\n' '{mark}'\n" for step in commands)
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec 2>&1\n{script}"],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=timeout,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace").split(f"{mark}\n")[:-1]


def _pattern(line: str) -> str:
    if line.strip() == ANY:
        return r"(?:.*\n)*"
    return ".*".join(re.escape(part.rstrip() if at else part) for at, part in enumerate(line.split(ANY))) + r"\s*\n"
