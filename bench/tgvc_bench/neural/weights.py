"""Files of weights that a user names, checked before anything is measured with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgvc.errors import BackendUnavailableError, BundleError, ConfigError


@dataclass(frozen=True)
class Published:
    """What is publicly known of a file.

    Its ``name``, where it is, how its SHA-256 begins (that is part of its name; '' = it was never stated).
    """

    name: str
    url: str
    prefix: str = ""


PUBLISHED: dict[str, Published] = {
    "alexnet": Published(
        "alexnet-owt-7be5be79.pth", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79"
    ),
    "vgg16": Published("vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth", "397923af"),
    "lpips-alex": Published(
        "v0.1/alex.pth", "https://github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1/alex.pth"
    ),
    "lpips-vgg": Published(
        "v0.1/vgg.pth", "https://github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1/vgg.pth"
    ),
    "dists": Published("weights.pt", "https://github.com/dingkeyan93/DISTS, DISTS_pytorch/weights.pt"),
    "inception": Published(
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights",
        "6726825d",
    ),
    "clip": Published(
        "manifest.json of a bundle of kind interpolation",
        "made by `tgvc export dynamicrafter-512-interp`, whose CLIP tower it is",
    ),
}
NEEDED: dict[str, tuple[str, ...]] = {
    "lpips": ("alexnet", "lpips-alex"),
    "tlpips": ("alexnet", "lpips-alex"),
    "lpips_vgg": ("vgg16", "lpips-vgg"),
    "dists": ("vgg16", "dists"),
    "fid": ("inception",),
    "kid": ("inception",),
    "clip_sim": ("clip",),
}


@dataclass(frozen=True)
class WeightFile:
    """A file of weights: its ``kind`` (a key of `PUBLISHED`), where it is, and the SHA-256 it must have."""

    kind: str
    path: Path
    sha256: str

    def check(self) -> None:
        """Refuse a file that is not there or has other bytes.

        Raises:
            BundleError: what is wrong.
        """
        try:
            with self.path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(f"{self.kind}: {self.path} cannot be read ({error.strerror})") from error
        if found != self.sha256:
            raise BundleError(f"{self.kind}: {self.path} has the SHA-256 {found}, expected {self.sha256}")

    def describe(self) -> dict[str, Any]:
        """The file as it stands in a record, without its place."""
        prefix = PUBLISHED[self.kind].prefix
        published = self.sha256.startswith(prefix) if prefix else None
        return {"file": self.path.name, "sha256": self.sha256, "published": published}


def parse_weights(text: str) -> WeightFile:
    """A file from ``KIND=FILE:SHA256``.

    Raises:
        ConfigError: it is written otherwise, or of an unknown kind.
    """
    kind, _, rest = text.partition("=")
    path, _, sha256 = rest.rpartition(":")
    if kind not in PUBLISHED:
        raise ConfigError(f"weights {text!r}: {kind!r} is no kind of weights, expected some of {', '.join(PUBLISHED)}")
    if not path or len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef"):
        raise ConfigError(f"weights {text!r}: expected {kind}=FILE:SHA256, the hash in 64 hexadecimal digits")
    return WeightFile(kind, Path(path), sha256.lower())


def require_weights(metrics: Iterable[str], weights: Sequence[WeightFile]) -> dict[str, WeightFile]:
    """The files that the metrics need, by kind.

    Raises:
        ConfigError: one is missing: which, where it is published, how to name it.
    """
    have = {file.kind: file for file in weights}
    wanted = {kind: metric for metric in metrics for kind in NEEDED.get(metric, ())}
    for kind, metric in wanted.items():
        if kind not in have:
            known = PUBLISHED[kind]
            hash_text = f"SHA-256 {known.prefix}..." if known.prefix else "no SHA-256 was published with it"
            raise ConfigError(
                f"{metric}: not computed without its weights {known.name} ({known.url}; {hash_text}); "
                f"give --weights {kind}=FILE:SHA256"
            )
    return {kind: have[kind] for kind in wanted}


def read_tensors(file: WeightFile) -> Any:
    """What a checked file of PyTorch holds; no code of it ever runs.

    Raises:
        BundleError: it has other bytes than expected, or is no such file.
        BackendUnavailableError: torch is not installed.
    """
    torch = import_torch()
    file.check()
    try:
        return torch.load(file.path, map_location="cpu", weights_only=True)
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise BundleError(f"{file.kind}: {file.path} is no file of PyTorch weights ({why})") from error


def import_torch() -> Any:
    """The module torch.

    Raises:
        BackendUnavailableError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailableError(
            "metrics with weights need torch, which is not installed; pip install 'tgvc[perceptual]'"
        ) from error
    return torch


def pick(tensors: Mapping[str, Any], name: str, shape: Sequence[int], kind: str) -> Any:
    """One tensor of a file as float32.

    Raises:
        BundleError: it is not there or has another shape.
    """
    found = tensors.get(name) if isinstance(tensors, Mapping) else None
    if found is None or tuple(found.shape) != tuple(shape):
        got = "nothing of that name" if found is None else f"{tuple(found.shape)}"
        raise BundleError(f"{kind}: {name} should have the shape {tuple(shape)}, the file has {got}")
    return found.float()
