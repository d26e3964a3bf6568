"""Layers as pyproject.toml states them, types, and the format and lint rules of the house."""

from __future__ import annotations

import subprocess
import sys

from tests.support.tree import CHECKOUT


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_the_layers_hold() -> None:
    done = run("-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_code_is_formatted() -> None:
    done = run("-m", "ruff", "format", "--no-cache", "--check", "--output-format=concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_finds_nothing() -> None:
    done = run("-m", "ruff", "check", "--no-cache", "--output-format=concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_hold() -> None:
    done = run("-m", "mypy")
    assert done.returncode == 0, done.stdout + done.stderr
