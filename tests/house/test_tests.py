"""A test that cannot fail is a defect: each test function asserts something, itself or through a helper beside it."""

from __future__ import annotations

import ast

import pytest

from tests.support import tree

RAISING = ("raises", "warns", "fail", "deprecated_call", "expect")  # the last is that of a browser


def toothless(source: str) -> list[str]:
    """The names of the test functions in `source` that assert nothing."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    asserting = {function.name for function in functions if _asserts(function, set())}
    grown = -1
    while grown != len(asserting):  # a helper may assert through another helper
        grown = len(asserting)
        asserting |= {function.name for function in functions if _asserts(function, asserting)}
    return [
        function.name for function in functions if function.name.startswith("test") and function.name not in asserting
    ]


def _asserts(function: ast.AST, helpers: set[str]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Raise) and node.exc is not None and "AssertionError" in ast.unparse(node.exc):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            expects_code = any(keyword.arg == "code" for keyword in node.keywords)  # cli("…", code=0)
            if name in RAISING or name in helpers or name.startswith("assert_") or expects_code:
                return True
    return False


def test_every_test_can_fail() -> None:
    modules = [path for path in tree.python_files() if path.parts[0] == "tests"]
    found = {str(path): toothless(tree.text(path)) for path in modules}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def test_a():\n    call()", ["test_a"]),
        ("class TestA:\n    def test_b(self):\n        call()", ["test_b"]),
        ("def test_a():\n    assert call()", []),
        ("def test_a():\n    with pytest.raises(ValueError):\n        call()", []),
        ("def test_a():\n    same(1)\ndef same(x):\n    equal(x)\ndef equal(x):\n    assert x", []),
        ("def test_a(cli):\n    cli('list', code=0)", []),
        ("def test_a(page):\n    expect(page).to_have_title('x')", []),
        ("def test_a():\n    same(1)\ndef same(x):\n    return x", ["test_a"]),
    ],
)
def test_the_check_knows_an_assertion(source: str, names: list[str]) -> None:
    assert toothless(source) == names
