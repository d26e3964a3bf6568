"""The rules of tests/conftest.py: no excuses where CI=true, long tests on request, a seed that can be replayed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.tree import CHECKOUT

EXCUSES = {
    "skip": "import pytest\n\ndef test_a():\n    pytest.skip('no server')\n",
    "mark": "import pytest\n\n@pytest.mark.skip(reason='no server')\ndef test_a():\n    pass\n",
    "xfail": "import pytest\n\n@pytest.mark.xfail(reason='later')\ndef test_a():\n    assert False\n",
    "module": "import pytest\n\npytest.importorskip('no_such_module')\n\ndef test_a():\n    pass\n",
    "fixture": "import pytest\n\n@pytest.fixture\ndef f():\n    pytest.skip('x')\n\ndef test_a(f):\n    pass\n",
}


def run(folder: Path, sources: dict[str, str], *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of pytest with our rules over some modules."""
    for name, source in sources.items():
        (folder / f"test_{name}.py").write_text(source, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "-rA",
            *arguments,
            ".",
        ],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(CHECKOUT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_an_excuse_is_a_failure_in_ci(tmp_path: Path) -> None:
    code, output = run(tmp_path, EXCUSES, "--continue-on-collection-errors", CI="true")
    assert code == 1, output
    assert output.count("which CI does not accept") >= len(EXCUSES)
    for excuse in EXCUSES:
        assert re.search(rf"^(FAILED|ERROR) test_{excuse}\.py", output, re.MULTILINE), output
    assert not re.search("skipped|xfailed|passed", output.splitlines()[-1])


def test_an_excuse_is_accepted_elsewhere(tmp_path: Path) -> None:
    code, output = run(tmp_path, EXCUSES)
    assert (code, "4 skipped, 1 xfailed" in output) == (0, True), output


def test_long_tests_run_on_request_only(tmp_path: Path) -> None:
    source = {"a": "import pytest\n\n@pytest.mark.full\ndef test_a():\n    pass\n\ndef test_b():\n    pass\n"}
    assert "1 passed, 1 deselected" in run(tmp_path, source, CI="true")[1]
    assert "2 passed" in run(tmp_path, source, "--full", CI="true")[1]


def test_the_seed_is_printed_and_replayed(tmp_path: Path) -> None:
    source = (
        "import hypothesis\n\nseen = []\n\n"
        "@hypothesis.given(hypothesis.strategies.integers())\ndef test_a(x):\n    seen.append(x)\n\n"
        "def test_b(seed):\n    print(f'drawn {seed}:', sum(seen))\n"
    )
    outputs = [run(tmp_path, {"a": source}, "-s", f"--seed={seed}")[1] for seed in (1, 1, 2)]
    drawn = [re.findall(r"drawn (\d): (-?\d+)", output)[0] for output in outputs]
    assert drawn[0] == drawn[1]
    assert drawn[0][1] != drawn[2][1]
    assert (drawn[0][0], drawn[2][0]) == ("1", "2")
    assert "seed: 1 (replay with --seed=1)" in outputs[0]


def test_the_environment_of_the_machine_does_not_leak_in(tmp_path: Path) -> None:
    source = (
        "import os\n\ndef test_a():\n"
        "    assert not [n for n in os.environ if n.startswith(('PG', 'AWS_', 'HOLDFAST_')) or n == 'DATABASE_URL']\n"
    )
    code, output = run(tmp_path, {"a": source}, PGHOST="a", AWS_REGION="b", HOLDFAST_HOME="c", DATABASE_URL="d")
    assert code == 0, output
