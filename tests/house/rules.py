"""The calls that have no place in a layer, or one home only, found in the syntax tree under whatever name they have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rule:
    """Each of `names` (a call's full dotted name) is refused below `folders`, but for the files in `homes`."""

    reason: str
    names: tuple[str, ...]
    folders: tuple[str, ...]
    homes: tuple[str, ...] = field(default=())


# A program of its own: a person runs it on a bare machine.
STANDALONE = "engine/rescue.py"
BUILTINS = ("print", "eval", "exec")
# One public function of a service is one transaction: nobody else ends it.
NEVER_COMMIT = ("cli/", "webapp/models/", "webapp/views/", "webapp/api/", "webapp/jobs.py")

RULES = (
    Rule(
        "the clock comes in as an argument; its one home is webapp/clock.py",
        (
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.datetime.today",
            "datetime.date.today",
            "time.time",
            "time.time_ns",
            "time.localtime",
            "time.gmtime",
        ),
        ("engine/", "webapp/"),
        ("webapp/clock.py",),
    ),
    Rule(
        "the environment is read once, in webapp/settings.py, and passed on",
        ("os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"),
        ("engine/", "webapp/"),
        ("webapp/settings.py", STANDALONE),
    ),
    Rule(
        "randomness comes from engine/ids.py",
        ("os.urandom", "os.getrandom", "random", "secrets", "uuid.uuid1", "uuid.uuid4"),
        ("engine/",),
        ("engine/ids.py",),
    ),
    Rule(
        "only the command line talks to the terminal",
        ("print", "sys.stdout", "getpass"),
        ("engine/", "webapp/"),
        (STANDALONE,),
    ),
    Rule(
        "no shell ever sees a name that somebody else chose",
        ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
        ("engine/", "webapp/", "cli/", "benchmarks/", "tests/"),
    ),
    Rule(
        "data is never code",
        ("eval", "exec", "pickle", "marshal", "shelve", "dill"),
        ("engine/", "webapp/", "cli/"),
    ),
    Rule(
        "an engine that kills its process takes the service with it",
        ("sys.exit", "os._exit"),
        ("engine/", "webapp/"),
        (STANDALONE,),
    ),
)


def violations(path: str, source: str) -> list[str]:
    """`line: what (why)` for everything in `source` that the file at `path` may not do."""
    parsed = ast.parse(source)
    names = imported_names(parsed)
    found = []
    for node in ast.walk(parsed):
        for used in used_names(node, names):
            for rule in RULES:
                if path.startswith(rule.folders) and path not in rule.homes and _hits(used, rule):
                    found.append(f"{getattr(node, 'lineno', 0)}: {used} ({rule.reason})")
        found += [f"{line}: {what}" for line, what in _constructs(path, node)]
    return sorted(set(found), key=lambda text: int(text.partition(":")[0]))


def imported_names(parsed: ast.AST) -> dict[str, str]:
    """What each imported name stands for: `dt` → `datetime` for `import datetime as dt`."""
    names = {}
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    """The full dotted name that an expression uses; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id if node.id in BUILTINS else None)
    if isinstance(node, ast.Attribute):
        front = dotted(node.value, names)
        return f"{front}.{node.attr}" if front else None
    return None


def used_names(node: ast.AST, names: dict[str, str]) -> list[str]:
    """The full dotted names that one node uses or brings in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    used = dotted(node, names)
    return [used] if used else []


def _hits(used: str, rule: Rule) -> bool:
    return any(used == name or used.startswith(name + ".") for name in rule.names)


def _constructs(path: str, node: ast.AST) -> Iterator[tuple[int, str]]:
    """What is wrong wherever it stands: shells, and errors that vanish."""
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg == "shell" and getattr(keyword.value, "value", None) is not False:
                yield node.lineno, "shell=… (no shell ever sees a name that somebody else chose)"
        if isinstance(node.func, ast.Attribute) and node.func.attr == "commit" and path.startswith(NEVER_COMMIT):
            yield node.lineno, "commit() (one public function of a service is one transaction)"
    if isinstance(node, ast.ExceptHandler):
        if node.type is None:
            yield node.lineno, "bare except (it swallows Ctrl-C: name the errors)"
        elif _is_broad(node.type) and all(_does_nothing(statement) for statement in node.body):
            yield node.lineno, "except Exception with nothing in it (an error that nobody hears of)"
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress") and any(map(_is_broad, node.args)):
        yield node.lineno, "suppress(Exception) (an error that nobody hears of)"


def _is_broad(kind: ast.expr) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(one, ast.Name) and one.id in ("Exception", "BaseException") for one in kinds)


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass | ast.Continue) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
