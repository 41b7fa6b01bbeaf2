"""How the tree is kept: sizes, typing, no escape hatches, nothing of one machine in it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import events
import projections
import projector

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("events", "projections", "projector")
FOLDERS = (*PACKAGES, "tests", "ops")
FILE_LINES_MAX = 400

# How many comments that silence a checker a file may hold. Growing this is a decision.
COMMENTS_ALLOWED = Counter({"projector/daemon.py": 1})
PRINTS_ALLOWED = re.compile(r"projector/cli.*")

# In pieces, so that this file does not find itself.
REGISTRIES = [
    r"py" + r"pi\.org",
    "python" + "hosted",
    "npm" + r"js\.org",
    r"(deb|security)\.deb" + r"ian\.org",
]
INDEX_OPTIONS = ["--(extra-)?index" + "-url", "--find" + "-links", "--trusted" + "-host"]
MACHINE_PATHS = [r"(?<![\w.~-])/" + part for part in (r"work/\w", r"root/[\w.]", "opt/wheels")]
MACHINE_PATHS += [
    r"\.py" + "env/versions",
    r"/tmp/" + "venv",
    r"\.lib" + "rary/",
    "issues " + "show",
]
FOREIGN = re.compile("|".join(REGISTRIES + INDEX_OPTIONS + MACHINE_PATHS))


def tracked() -> list[Path]:
    """The files of the tree: those of git and those that git would add."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    return [path for name in listed.stdout.split("\0") if (path := ROOT / name).is_file()]


def sources(folders: tuple[str, ...] = PACKAGES, suffix: str = ".py") -> Iterator[Path]:
    """The source files under the folders."""
    for folder in folders:
        yield from sorted((ROOT / folder).rglob(f"*{suffix}"))


def called(path: Path) -> str:
    """How a file is named in a message."""
    return path.relative_to(ROOT).as_posix()


def pyproject() -> dict[str, Any]:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def names_of(requirements: list[str]) -> set[str]:
    """The packages' names in a list of requirements."""
    return {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements}


def pinned(kind: str) -> set[str]:
    """The names that a requirement file pins to one version."""
    text = (ROOT / f"requirements{kind}.txt").read_text()
    return set(re.findall(r"^([a-z0-9.-]+)==\S+ ", text, re.MULTILINE))


def test_no_file_is_longer_than_it_should_be() -> None:
    files = [*sources(FOLDERS), *sources(FOLDERS, ".sql"), *sources(FOLDERS, ".sh")]
    lines = {called(path): len(path.read_text().splitlines()) for path in files}
    assert {name: n for name, n in lines.items() if n > FILE_LINES_MAX} == {}


def test_packages_silence_no_checker() -> None:
    silenced = re.compile(r"#\s*(type:\s*ignore|noqa|ruff:|mypy:|pragma)")
    found: Counter[str] = Counter()
    for path in sources():
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type == tokenize.COMMENT and silenced.search(token.string):
                    found[called(path)] += 1
    assert found - COMMENTS_ALLOWED == Counter()


def test_packages_print_only_from_the_command_line() -> None:
    found = [
        f"{called(path)}:{node.lineno}"
        for path in sources()
        if not PRINTS_ALLOWED.fullmatch(called(path))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "pprint"}
    ]
    assert found == []


def test_every_module_says_what_it_is_about() -> None:
    silent = [
        called(path) for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize("package", [events, projections, projector], ids=PACKAGES)
def test_packages_are_ours_and_typed(package: object) -> None:
    file = getattr(package, "__file__", None)
    name = getattr(package, "__name__", "")
    assert file is not None
    assert Path(file).resolve() == ROOT / name / "__init__.py"
    assert (ROOT / name / "py.typed").is_file()


def test_nothing_in_the_tree_is_of_one_machine() -> None:
    found = []
    for path in tracked():
        lines = path.read_bytes().decode(errors="replace").splitlines()
        found += [f"{called(path)}:{n}" for n, line in enumerate(lines, 1) if FOREIGN.search(line)]
    assert found == []


@pytest.mark.parametrize("kind", ["", "-dev", "-build", "-audit"])
def test_requirements_are_pinned_and_hashed_and_name_no_address(kind: str) -> None:
    text = (ROOT / f"requirements{kind}.txt").read_text()
    lines = text.replace("\\\n", " ").splitlines()
    assert "://" not in text
    assert len(pinned(kind)) == len([line for line in lines if not line.startswith("#")]) > 0
    assert [line for line in lines if "--hash=sha256:" not in line and line[0] != "#"] == []


def test_requirements_list_what_the_project_asks_for() -> None:
    project = pyproject()["project"]
    runtime, dev = project["dependencies"], project["optional-dependencies"]["dev"]
    assert names_of(runtime) <= pinned("")
    assert names_of([*runtime, *dev]) <= pinned("-dev")
    assert names_of(pyproject()["build-system"]["requires"]) <= pinned("-build")


def test_the_changelog_tells_of_this_version() -> None:
    released = re.findall(
        r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[:1] == [projector.__version__]


def test_every_declared_projection_loads() -> None:
    declared = pyproject()["project"]["entry-points"]["projector.projections"]
    installed = entry_points(group="projector.projections")
    assert {point.name: point.value for point in installed} == declared, "install the package again"
    assert {point.load().name for point in installed} == set(declared)
