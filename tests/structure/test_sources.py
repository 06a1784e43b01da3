"""Rules for the text of the sources, which no linter of ours knows."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
SRC = REPO / "src" / "opsin"
SOURCES = sorted(SRC.rglob("*.py"))
MAX_LINES = 400

# Put together from pieces, so that this file does not break its own rules.
MACHINE_PATH = re.compile(r"(?<![\w.)}*])/(?:" + "work|root|home" + r")/[\w.]")
REGISTRY_ADDRESS = re.compile(
    "py" + r"pi\.org|python" + r"hosted\.org|download\.py" + r"torch\.org|/sim" + r"ple\b"
    r"|--(?:extra-)?ind" + r"ex-url|--find-" + "links"
)
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def relative(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def broken(path: Path, rule: Callable[[ast.Module], Iterator[tuple[int, str]]]) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [f"{relative(path)}:{line}: {what}" for line, what in rule(tree)]


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "."


def unpickled(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, module in imported_modules(tree):
        if module.partition(".")[0] in UNPICKLERS:
            yield line, f"imports {module}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if ast.unparse(node.func) == "torch.load" and options.get("weights_only") != "True":
            yield node.lineno, "torch.load without weights_only=True"
        if options.get("allow_pickle", "False") != "False":
            yield node.lineno, "allow_pickle"


def printed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Standard output is for data, and only `cli` writes data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            files = [ast.unparse(word.value) for word in node.keywords if word.arg == "file"]
            if not files or files == ["sys.stdout"]:
                yield node.lineno, "print to standard output outside cli; return it, or raise it"


def undocumented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in tree.body:
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if named and not node.name.startswith("_") and not ast.get_docstring(node):
            yield node.lineno, f"{node.name} has no docstring"


def test_the_sources_were_found() -> None:
    assert {"core/errors.py", "__init__.py"} <= {p.relative_to(SRC).as_posix() for p in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= MAX_LINES, f"{relative(path)} has {lines} lines; split it"

    faults = broken(path, unpickled) + broken(path, undocumented)
    if path.relative_to(SRC).parts[0] != "cli":
        faults += broken(path, printed)
    if path.name == "__init__.py" and path.parent != SRC:
        imports = broken(path, imported_modules)
        faults += [f"{where}: a room's __init__ imports nothing" for where in imports]
    elif not ast.get_docstring(ast.parse(text)):
        faults.append(f"{relative(path)}: no docstring on top")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("rule", "code", "count"),
    [
        (unpickled, "def f():\n    import pickle", 1),
        (unpickled, "from joblib import load", 1),
        (unpickled, "torch.load(p)\ntorch.load(p, weights_only=False)", 2),
        (unpickled, "torch.load(p, weights_only=True)\njson.load(p)\nnp.load(p)", 0),
        (unpickled, "np.load(p, allow_pickle=True)", 1),
        (printed, "def f():\n    print(1)", 1),
        (printed, "print(1, file=sys.stdout)", 1),
        (printed, "print(1, file=sys.stderr)\nconsole.print(1)", 0),
        (undocumented, "def f(): ...\nclass A: ...\ndef _g(): ...", 2),
        (undocumented, 'def f():\n    """Yes."""', 0),
    ],
)
def test_the_rules_see_what_they_must(
    rule: Callable[[ast.Module], Iterator[tuple[int, str]]], code: str, count: int
) -> None:
    assert len(list(rule(ast.parse(code)))) == count


def committed_texts() -> dict[str, str]:
    """Every text file that git has or would take. Skips where this is no git checkout."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip(f"not a git checkout: {listing.stderr.strip()}")
    texts = {}
    for name in listing.stdout.split("\0"):
        path = REPO / name
        if name and path.is_file() and b"\0" not in (data := path.read_bytes()):
            texts[name] = data.decode("utf-8", "replace")
    assert "pyproject.toml" in texts
    return texts


def test_no_committed_file_names_this_machine_or_a_registry() -> None:
    faults = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in committed_texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line) or REGISTRY_ADDRESS.search(line)
    ]
    assert not faults, "\n".join(faults)


def test_what_installs_holds_no_address_at_all() -> None:
    texts = committed_texts()
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run"):
        assert name in texts, f"{name} is missing"
        assert not re.findall(r"\w+://[\w.]\S*", texts[name]), name


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("see /wo" + "rk/main/x", True),
        ("'/ro" + "ot/.cache'", True),
        ("root/class/*.jpg and {root}/x and a/work/b", False),
        ("pip install --ind" + "ex-url=x y", True),
        ("https://mirror.example/sim" + "ple", True),
        ("https://www.apache.org/licenses/", False),
    ],
)
def test_machine_paths_and_addresses_are_seen(line: str, bad: bool) -> None:
    assert bool(MACHINE_PATH.search(line) or REGISTRY_ADDRESS.search(line)) is bad
