"""No file over 400 lines, no function over 60; each module says in one to five lines what it promises."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support import tree

FILE_LINES = 400
FUNCTION_LINES = 60
DOCSTRING_LINES = 5
# The reason stands in engine.md: one file that a person can carry to a bare machine.
LONGER_FILES = {Path("engine/rescue.py"): 800}


def long_functions(source: str) -> list[tuple[str, int]]:
    """Name and length of each function that is too long; decorators are not counted."""
    return [
        (node.name, node.end_lineno - node.lineno + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]


def test_no_file_is_too_long() -> None:
    lengths = {path: tree.text(path).count("\n") for path in tree.python_files()}
    assert {path: count for path, count in lengths.items() if count > LONGER_FILES.get(path, FILE_LINES)} == {}


def test_no_function_is_too_long() -> None:
    found = {str(path): long_functions(tree.text(path)) for path in tree.python_files()}
    assert {path: functions for path, functions in found.items() if functions} == {}


def test_each_module_says_what_it_promises() -> None:
    modules = {str(path): ast.parse(tree.text(path)) for path in tree.python_files()}
    written = {path: ast.get_docstring(parsed) or "" for path, parsed in modules.items() if parsed.body}
    lengths = {path: len(docstring.splitlines()) for path, docstring in written.items()}
    assert {path: count for path, count in lengths.items() if not 1 <= count <= DOCSTRING_LINES} == {}


def test_the_measure_counts_every_line() -> None:
    def function(body_lines: int) -> str:
        return "class Some:\n    @decorated\n    def method(self):\n" + "        x = 1\n" * body_lines

    assert long_functions(function(FUNCTION_LINES - 1)) == []
    assert long_functions(function(FUNCTION_LINES)) == [("method", FUNCTION_LINES + 1)]


def test_the_tree_is_seen() -> None:
    seen = tree.python_files()
    assert Path("engine/errors.py") in seen
    assert Path("tests/house/test_sizes.py") in seen
    assert not [path for path in seen if ".venv" in path.parts]
