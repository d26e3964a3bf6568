"""Clock, environment, randomness and terminal have one home each; no shell; no error that vanishes."""

from __future__ import annotations

import pytest

from tests.house.rules import violations
from tests.support import tree

REFUSED = [
    ("engine/a.py", "import datetime\ndatetime.datetime.now()"),
    ("engine/a.py", "from datetime import datetime as clock\nclock.now(tz)"),
    ("engine/a.py", "import datetime as dt\nmoment = dt.datetime.utcnow"),
    ("webapp/services/a.py", "from time import time\ntime()"),
    ("webapp/services/a.py", "import time\ntime.time_ns()"),
    ("engine/a.py", "import os\nhome = os.environ['HOME']"),
    ("engine/a.py", "from os import environ"),
    ("webapp/a.py", "import os\nos.getenv('HOME')"),
    ("engine/a.py", "import secrets\nsecrets.token_bytes(3)"),
    ("engine/a.py", "print('hello')"),
    ("webapp/a.py", "import sys\nsys.stdout.write('x')"),
    ("cli/a.py", "import subprocess\nsubprocess.run('ls', shell=True)"),
    ("engine/a.py", "report = print"),
    ("webapp/models/a.py", "session.commit()"),
    ("tests/a.py", "import os\nos.system('ls')"),
    ("cli/a.py", "import pickle\npickle.loads(b'')"),
    ("cli/a.py", "eval('1')"),
    ("engine/a.py", "import sys\nsys.exit(1)"),
    ("tests/a.py", "try:\n    x()\nexcept:\n    raise"),
    ("cli/a.py", "try:\n    x()\nexcept Exception:\n    pass"),
    ("cli/a.py", "try:\n    x()\nexcept (OSError, BaseException):\n    ..."),
    ("cli/a.py", "import contextlib\nwith contextlib.suppress(Exception):\n    x()"),
]
ALLOWED = [
    ("webapp/clock.py", "import datetime\ndatetime.datetime.now()"),
    ("webapp/settings.py", "import os\nos.environ['HOME']"),
    ("engine/ids.py", "import os\nos.urandom(16)"),
    ("cli/output.py", "print('hello')"),
    ("engine/a.py", "import time\ntime.monotonic()"),
    ("engine/a.py", "from datetime import datetime\ndef f(now: datetime): return now.isoformat()"),
    ("engine/a.py", "row.now(); self.print(); evaluate(); secrets = input; secrets.count(random)"),
    ("webapp/services/a.py", "session.commit()"),
    ("engine/a.py", "import subprocess\nsubprocess.run(['ls'], shell=False)"),
    ("cli/a.py", "try:\n    x()\nexcept Exception as error:\n    report(error)"),
]


def test_nothing_forbidden_is_called() -> None:
    found = {str(path): violations(path.as_posix(), tree.text(path)) for path in tree.python_files()}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(("path", "source"), REFUSED)
def test_each_rule_finds_what_it_forbids(path: str, source: str) -> None:
    assert violations(path, source) != []


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_homes_and_harmless_code_are_left_alone(path: str, source: str) -> None:
    assert violations(path, source) == []
