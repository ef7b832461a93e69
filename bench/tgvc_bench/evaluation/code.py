"""Hashes of the code that decides a result: what a cache may keep depends on it, not on comments or other commands."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

from tgvc.errors import ConfigError
from tgvc.models.bundle import bundle_folder
from tgvc.models.manifest import MANIFEST

# rooms of tgvc that touch no picture
_APART = ("__main__", "api", "batch", "cli", "demo", "doctor", "fetch", "view")
# what plans for some profiles alone, and for which
PLANNERS = {
    "actdiff": ("actdiff",),
    "dynamics": ("dynamics", "auto"),
    "human": ("human", "auto"),
    "keyladder": ("actdiff",),
    "semantic": ("tgvc",),
}
_SCORES = (
    "change", "clips", "fidelity", "ffmpeg", "metrics", "realism", "units", "vmaf", "neural",
    "evaluation.motion", "evaluation.parts", "evaluation.previews", "evaluation.scoring", "evaluation.sources",
)  # fmt: skip
_OURS = ("evaluation.ours",)
_CONVENTIONAL = ("baselines", "encoders", "evaluation.conventional")


@cache
def hash_ours(profile: str = "auto") -> str:
    """SHA-256 over encoder, decoder, kernels and scores; networks are not in it, see `hash_networks`.

    Planners that ``profile`` does not use are left out, so that a change of one leaves what others planned as it is.
    """
    rooms = [p for p in sorted(_root("tgvc").iterdir()) if p.stem not in _APART and p.name != "assets"]
    planning = _root("tgvc") / "planning"
    apart = {planning / f"{name}.py" for name, profiles in PLANNERS.items() if profile not in profiles}
    return _hash_modules([*rooms, _root("tgvc_kernels"), *_bench(_SCORES + _OURS)], apart)


def hash_networks(names: Iterable[str]) -> list[str | None]:
    """SHA-256 of the manifests of bundles, which hold the hashes of their files; None for one that is not there."""
    manifests = [bundle_folder(name) / MANIFEST for name in names]
    return [hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None for p in manifests]


@cache
def hash_conventional() -> str:
    """SHA-256 over the commands of conventional encoders and the scores."""
    return _hash_modules(_bench(_SCORES + _CONVENTIONAL))


def _root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigError(f"eval: package {package} is not installed")
    return Path(spec.origin).parent


def _bench(names: Iterable[str]) -> list[Path]:
    root = _root("tgvc_bench")
    paths = [root.joinpath(*name.split(".")) for name in names]
    return [path if path.is_dir() else path.with_suffix(".py") for path in paths]


def _hash_modules(places: Iterable[Path], apart: Collection[Path] = ()) -> str:
    digest = hashlib.sha256()
    for place in places:
        inner = sorted(place.rglob("*.py")) if place.is_dir() else [place] * (place.suffix == ".py")
        for path in (p for p in inner if p not in apart):
            digest.update(f"{place.name}/{path.name}\0{strip_code(path.read_text())}\0".encode())
    return digest.hexdigest()


def strip_code(text: str) -> str:
    """What of Python source decides what it does: its syntax tree without docstrings; comments are not in it."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.dump(tree)
