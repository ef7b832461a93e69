"""The command ``tgvc export BUNDLE --tensorrt``: engines of a bundle, for this GPU or for named ones without any."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgvc.cli.process import CommandLine
from tgvc.errors import ConfigError
from tgvc.models.bundle import EMBEDDED
from tgvc.models.constants import HumanConstants, InterpolationConstants
from tgvc.types import OnProgress

if TYPE_CHECKING:
    from tgvc.backends.engines.store import EngineStore
    from tgvc.models.bundle import ModelBundle

NAME = "BUNDLE"
_ARCHITECTURE = re.compile(r"sm_[0-9]{2,3}", re.ASCII)
_LENGTH = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=([1-9][0-9]{0,8})", re.ASCII)
_USUAL = {"N": 4, "B": 1, "K": 64}  # pictures and runs at once, points that are tracked


class ExportLine(CommandLine):
    """Takes the name or the folder of a bundle where another group takes the name of a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a bundle for a bundle, else that of the name."""
        if args and args[0] not in self.commands and (args[0] in EMBEDDED or Path(args[0]).is_dir()):
            return NAME, self.commands[NAME], args
        return super().resolve_command(ctx, args)


@click.command(
    NAME,
    short_help="Build TensorRT engines of a bundle, with --tensorrt.",
    epilog="\b\nExamples:\n  tgvc export nano --tensorrt\n  tgvc export interp --tensorrt --shapes B=2\n"
    "  tgvc export nano --tensorrt --arch sm_80,sm_89 --size 640x360",
)
@click.argument("bundle", metavar=NAME)
@click.option("--tensorrt", is_flag=True, help="What to make of the bundle: engines.")
@click.option(
    "--arch",
    "architectures",
    metavar="sm_80,...",
    multiple=True,
    help="Build for these GPUs through tensorrt_rtx; needs none here. Default: the GPU of this machine.",
)
@click.option("--size", default="512x320", show_default=True, metavar="WxH", help="Of the video, px.")
@click.option(
    "--shapes",
    metavar="T=16,...",
    multiple=True,
    help="Lengths of symbols in docs/bundle.md; given several times, an engine for each.",
)
@click.option("--net", "nets", metavar="NAME", multiple=True, help="Only this network; may be given several times.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no report.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output.")
def engines(
    bundle: str,
    tensorrt: bool,
    architectures: tuple[str, ...],
    size: str,
    shapes: tuple[str, ...],
    nets: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Build TensorRT engines of a bundle into this user's engine store.

    BUNDLE is an embedded bundle's name, or a folder. An engine is for one set of shapes, one kind of GPU and one
    version of TensorRT; what is in the store already is not built again. Without --arch this needs the GPU; see `tgvc
    engines list`.
    """
    if not tensorrt:
        raise click.UsageError("say what to make of the bundle: --tensorrt")
    from tgvc.cli.tables import print_json, print_lines
    from tgvc.models.bundle import load_bundle
    from tgvc_export.progress import show_progress

    targets = parse_architectures(architectures)
    opened = load_bundle(bundle)
    sets = [usual_lengths(opened, parse_size(size)) | parse_lengths(text) for text in shapes or ("",)]
    with show_progress(quiet) as on_progress:
        built = build_engines(opened, sets, targets=targets, nets=nets, on_progress=on_progress)
    if as_json:
        print_json({"bundle": opened.label, "engines": built})
    elif not quiet:
        print_lines([("engine", _describe(engine)) for engine in built])


def build_engines(
    bundle: ModelBundle,
    sets: Sequence[Mapping[str, int]],
    *,
    targets: Sequence[str] = (),
    nets: Sequence[str] = (),
    store: EngineStore | None = None,
    on_progress: OnProgress | None = None,
) -> list[dict[str, Any]]:
    """Have engines of a bundle in a store.

    Args:
        bundle: that they are made of.
        sets: lengths of symbols, see `usual_lengths`; one engine of each network for each set.
        targets: architectures such as ``sm_89``, for which no GPU is needed; without any, the GPU of this machine.
        nets: names of networks; all by default.
        store: of engines; the user's by default.
        on_progress: of the builds.

    Returns:
        For each engine ``net``, ``shapes`` by input, ``for`` (targets or the GPU), ``library`` and ``seconds``.

    Raises:
        ConfigError: a network is not known, or a symbol has no length.
        BackendError: the library does not build a network, or not for a target.
        BackendUnavailableError: it is not installed, or there is no GPU and no target.
    """
    from tgvc.backends.engines.store import EngineStore
    from tgvc.backends.places import full_shape

    if unknown := [name for name in nets if name not in bundle.nets]:
        raise ConfigError(f"net={', '.join(unknown)}: expected {', '.join(bundle.nets)}")
    make = _Builder(store or EngineStore(), targets, on_progress)
    built: list[dict[str, Any]] = []
    for name in nets or bundle.nets:
        record = bundle.nets[name]
        for lengths in sets:
            try:
                shapes = {spec.name: full_shape(spec, lengths) for spec in record.inputs}
            except KeyError as fault:
                raise ConfigError(f"{name}: how long is {fault.args[0]}? give --shapes {fault.args[0]}=N") from fault
            if any(entry["net"] == name and entry["shapes"] == shapes for entry in built):
                continue  # sets may differ in what this network does not know
            began = time.perf_counter()
            make(record, shapes)
            seconds = round(time.perf_counter() - began, 2)
            built.append({"net": name, "shapes": shapes, "for": make.place, "library": make.label, "seconds": seconds})
    return built


class _Builder:
    """Builds one engine after another, for targets or for the GPU of this machine, where the store has none."""

    def __init__(self, store: EngineStore, targets: Sequence[str], on_progress: OnProgress | None) -> None:
        from tgvc.backends.trt.backend import TrtBackend
        from tgvc.backends.trt.build import check_targets
        from tgvc.backends.trt.library import find_library

        self._store, self._targets, self._on_progress = store, tuple(targets), on_progress
        if targets:
            self._library = find_library("tensorrt-rtx")
            check_targets(self._library, targets)
            self.label, self.place = self._library.label, ", ".join(targets)
        else:
            self._backend = TrtBackend(store=store, on_progress=on_progress)
            self.label, self.place = self._backend.version, self._backend.providers[0].partition(" on ")[2]

    def __call__(self, record: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
        from tgvc.backends.trt.backend import plan_about
        from tgvc.backends.trt.build import build_plan, static_profile

        if not self._targets:
            self._backend.load(record).prepare(shapes)
            return
        about = plan_about(self._library, record, shapes, self._targets)
        with self._store.lock(about):
            if self._store.read(about) is None:
                profile, say = static_profile(shapes), self._on_progress
                plan = build_plan(self._library, record, profile, targets=self._targets, on_progress=say).plan
                self._store.write(about, plan)


def usual_lengths(bundle: ModelBundle, size: tuple[int, int]) -> dict[str, int]:
    """Lengths of the symbols of a bundle, as far as its constants and the size of a video, px, say them."""
    constants = asdict(bundle.constants)
    said = {"T": "window", "M": "image_tokens", "S": "steps"}
    lengths = dict(_USUAL) | {symbol: constants.get(name, 1) for symbol, name in said.items()}
    if "stride" in constants:
        size = constants["width"], constants["height"]
    cell = constants.get("stride") or constants.get("cell_px", 8)
    if isinstance(bundle.constants, HumanConstants):  # its symbols count blocks of cells
        cell *= bundle.constants.divisor
    padded = isinstance(bundle.constants, InterpolationConstants)  # to whole blocks; symbols count cells
    whole = constants["divisor"] if padded else 1
    for symbol, length in zip("wh", size, strict=True):
        lengths[symbol] = whole * max(1, -(-length // (whole * cell)))
        lengths |= {f"{symbol}{level}": max(1, lengths[symbol] >> level) for level in range(constants.get("levels", 0))}
    return lengths


def parse_architectures(texts: Sequence[str]) -> list[str]:
    """Names such as ``sm_89``, of lists with commas.

    Raises:
        ConfigError: another name.
    """
    names = [name.strip() for text in texts for name in text.split(",")]
    if wrong := [name for name in names if not _ARCHITECTURE.fullmatch(name)]:
        raise ConfigError(f"arch={wrong[0]!r}: expected names such as sm_89, with commas between them")
    return list(dict.fromkeys(names))


def parse_lengths(text: str) -> dict[str, int]:
    """Lengths by symbol, of a list such as ``T=16,h=40``.

    Raises:
        ConfigError: it is no such list.
    """
    lengths = {}
    for part in filter(None, text.split(",")):
        match = _LENGTH.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"shapes={text!r}: expected symbols and lengths such as T=16,h=40,w=64")
        lengths[match[1]] = int(match[2])
    return lengths


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of a text such as ``512x320``.

    Raises:
        ConfigError: it is no such text.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text, re.ASCII)
    if match is None:
        raise ConfigError(f"size={text!r}: expected a width and a height such as 512x320")
    return int(match[1]), int(match[2])


def _describe(engine: Mapping[str, Any]) -> str:
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in engine["shapes"].items())
    return f"{engine['net']}, {shapes}, for {engine['for']}, {engine['library']}, {engine['seconds']:.1f} s"
