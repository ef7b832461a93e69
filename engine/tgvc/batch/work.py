"""What is done with one file of a batch: encode it, or decode it. Items and results are plain data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tgvc.config import DecoderConfig, EncoderConfig


@dataclass(frozen=True)
class FileItem:
    """One file: its ``name`` below the folder, and where it is, or its bytes where the worker may not reach it.

    ``target``: the file to write, which appears whole or not at all; None = its bytes come back in the result.
    """

    name: str
    source: Path | bytes
    suffix: str
    target: Path | None = None


@dataclass(frozen=True)
class FileResult:
    """What came of a file: facts for people, and its bytes where no target was given."""

    facts: dict[str, Any]
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Encoding:
    """Videos to streams; ``threads``: candidates tried at once by every worker, of which the bytes do not depend."""

    config: EncoderConfig
    threads: int = 1
    suffix = ".tgvc"

    def open(self) -> Callable[[FileItem], FileResult]:
        """An encoder, ready."""
        from tgvc.encoder import Encoder

        encoder = Encoder(self.config, threads=self.threads)
        return lambda item: run_item(item, lambda source, target: _encoded(encoder.encode(source, target)))


@dataclass(frozen=True)
class Decoding:
    """Streams to videos with a ``suffix`` such as .mp4."""

    config: DecoderConfig
    suffix: str = ".mp4"

    def open(self) -> Callable[[FileItem], FileResult]:
        """A decoder, its networks loaded.

        Raises:
            BundleError: the networks are not there, or damaged.
            BackendError: what is to run them does not run here.
        """
        from tgvc.decoder import Decoder

        decoder = Decoder(self.config)
        return lambda item: run_item(item, lambda source, target: _decoded(decoder.decode(source, target)))


def run_item(item: FileItem, call: Callable[[str, str], dict[str, Any]]) -> FileResult:
    """Call with paths of a source and a target, whichever way the item carries them."""
    with ExitStack() as opened:
        source, target = item.source, item.target
        if isinstance(source, bytes) or target is None:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="tgvc-")))
            if isinstance(source, bytes):
                given = folder / f"source{Path(item.name).suffix}"
                given.write_bytes(source)
                source = given
            target = target or folder / f"target{item.suffix}"
        facts = call(str(source), str(target))
        return FileResult(facts, target.read_bytes() if item.target is None else None)


def _encoded(report: Any) -> dict[str, Any]:
    names = ("frames", "bytes", "bpp", "kbps", "psnr_y", "ms_ssim", "layers", "note", "seconds")
    return {name: getattr(report, name) for name in names}


def _decoded(report: Any) -> dict[str, Any]:
    names = ("frames", "width", "height", "fps", "generator", "bundle", "backend", "seconds")
    return {name: getattr(report, name) for name in names}
