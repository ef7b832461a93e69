"""Who may import whom, read from the import statements of all packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "tgvc": "engine",
    "tgvc_kernels": "kernels",
    "tgvc_bench": "bench",
    "tgvc_export": "export",
    "tgvc_train": "train",
}

# Inside tgvc, a room may use those on lines above its own, and itself; never a neighbour on the same line.
LAYERS = (
    ("errors",),
    ("types", "options"),
    ("config", "source", "output", "opencv", "memory", "overlap", "fetch", "devices"),
    ("video", "bitstream", "backends", "diffusion"),
    ("timing", "models"),
    ("analysis", "synthesis"),
    ("summary", "planning"),
    ("generators",),
    ("encoder", "decoder"),
    ("session",),
    ("api", "view", "demo"),
    ("",),  # the package itself: its public names
    ("doctor", "batch"),
    ("cli",),
    ("__main__",),
)
# Which package may use which others
ALLOWED = {
    "tgvc_kernels": set(),
    "tgvc": {"tgvc_kernels"},
    "tgvc_export": {"tgvc", "tgvc_kernels"},
    "tgvc_train": {"tgvc", "tgvc_kernels", "tgvc_export"},
    "tgvc_bench": {"tgvc", "tgvc_kernels", "tgvc_export"},
}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
MOST_LINES = 400


@dataclass(frozen=True)
class Source:
    """One module: its dotted name and its file."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def room(self) -> str:
        """First name below the package, as ``bitstream`` of ``tgvc.bitstream.tracks``; empty for the package."""
        return self.name.partition(".")[2].partition(".")[0]


@cache
def sources() -> dict[str, Source]:
    """Every module of every package by its dotted name."""
    found = {}
    for package, folder in FOLDERS.items():
        base = ROOT / folder
        for path in sorted((base / package).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Source(name, path)
    return found


def imported_names(source: Source) -> Iterator[str]:
    """Dotted names after ``import`` and ``from``, those inside functions too."""
    is_package = source.path.name == "__init__.py"
    for node in ast.walk(ast.parse(source.path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = source.name.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
                origin = ".".join([*above, origin]).rstrip(".")
            # "from package import name" may mean a module or a value of the package
            yield from (f"{origin}.{alias.name}" for alias in node.names)


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of this project that a module imports, by dotted name."""
    found = set()
    for wanted in imported_names(sources()[name]):
        if wanted in sources():
            found.add(wanted)
        elif wanted.partition(".")[0] in FOLDERS:
            found.add(wanted.rpartition(".")[0])
    return frozenset(found)


def reach(name: str) -> set[str]:
    """Everything that a module imports, directly or through others."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = imports(waiting.pop()) - seen
        seen |= new
        waiting += new
    return seen


def layer_of(room: str) -> int:
    return next(n for n, rooms in enumerate(LAYERS) if room in rooms)


def test_every_import_of_the_project_names_a_module_that_exists() -> None:
    missing = [(name, m) for name in sources() for m in imports(name) if m not in sources()]
    assert missing == []


def test_every_room_of_tgvc_has_its_place() -> None:
    placed = {room for rooms in LAYERS for room in rooms}
    lost = sorted({s.room for s in sources().values() if s.package == "tgvc"} - placed)
    assert not lost, f"{lost}: write them into LAYERS, beside what they may not import"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_those_below_them(package: str) -> None:
    wrong = [
        f"{s.name} imports {m}"
        for s in sources().values()
        if s.package == package
        for m in sorted(imports(s.name))
        if m.partition(".")[0] not in ALLOWED[package] | {package}
    ]
    assert wrong == []


def test_rooms_import_only_those_above_them() -> None:
    wrong = [
        f"{s.name} imports {m}"
        for s in sources().values()
        if s.package == "tgvc"
        for m in sorted(imports(s.name))
        if sources()[m].package == "tgvc"
        and sources()[m].room != s.room
        and layer_of(sources()[m].room) >= layer_of(s.room)
    ]
    assert wrong == []


def test_imports_have_no_cycle() -> None:
    # a package whose __init__ collects the names of its modules is not a cycle: its modules import each other directly
    graph = {name: {m for m in imports(name) if not name.startswith(m + ".")} for name in sources()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_decoder_reaches_nothing_of_the_encoder() -> None:
    rooms = {sources()[name].room for name in reach("tgvc.decoder") if sources()[name].package == "tgvc"}
    assert "synthesis" in rooms
    assert rooms & {"encoder", "analysis", "planning", "api", "cli"} == set()


def test_encoder_sees_what_the_decoder_sees_without_importing_it() -> None:
    reached = reach("tgvc.encoder")
    assert "tgvc.synthesis.warp" in reached
    assert "tgvc.decoder" not in reached


def test_import_of_tgvc_loads_nothing_heavy() -> None:
    heavy = ("cv2", "numba", "av", "PIL", "hdbscan", "scipy", "torch")
    code = f"import sys, tgvc; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_can_be_read_in_one_sitting() -> None:
    lengths = {str(s.path.relative_to(ROOT)): len(s.path.read_text().splitlines()) for s in sources().values()}
    assert len(lengths) > 40
    assert {path: n for path, n in lengths.items() if n > MOST_LINES} == {}


def test_modules_are_named_after_what_they_hold() -> None:
    assert [name for name in sources() if VAGUE_NAMES & set(name.split("."))] == []
