"""CoTracker3 in torch to a bundle of kind ``tracker``: two files, free in pictures, points and frames, of one size."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgvc.backends.spec import TensorSpec, split_dimension
from tgvc.models.bundle import ModelBundle, load_bundle, write_manifest
from tgvc.models.contract import FEATURES, UPDATE, Tensors, contract_of
from tgvc.models.manifest import MANIFEST
from tgvc_export.check import Case, check_bundle
from tgvc_export.cotracker.features import make_pyramid
from tgvc_export.cotracker.networks import FeatureNetwork, UpdateNetwork, tracker_constants
from tgvc_export.cotracker.sampling import sample_support, sine_table, stretch_table
from tgvc_export.cotracker.tracker import CoTracker3
from tgvc_export.graph_rules import OPSET, ExportError
from tgvc_export.onnx_file import export_module
from tgvc_export.precision import Precision

LICENCE = "CC-BY-NC-4.0"  # of the published code and weights
WORDS: Mapping[str, str] = {
    "fp32": "float32",
    "fp16": "float16; norms, softmax and positions float32",
    "stored-halves": "weights stored as float16, float32 arithmetic",
}
# Relative error against torch in float32. fp32: sums in another order, two dozen layers deep. Halves: each rounds by
# 1/2048; what comes out are displacements of which the largest is a few cells
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 3e-2, "stored-halves": 2e-2}
_TABLE_TOLERANCE = 1e-3  # a table kept in halves is off by half of that


def export_tracker(
    tracker: CoTracker3,
    folder: Path,
    *,
    name: str,
    revision: str,
    licence: str = LICENCE,
    precision: Precision = "fp32",
    opset: int = OPSET,
    notes: Mapping[str, Any] | None = None,
) -> ModelBundle:
    """Export both networks, check them in a fresh process without torch, and write the bundle.

    Args:
        tracker: with its weights.
        folder: to write into, made if needed; other files in it are left alone.
        name: of the bundle.
        revision: of the bundle.
        licence: of the weights.
        precision: of both files; see `tgvc_export.onnx_file.export_module`.
        opset: of both files.
        notes: plain values for the manifest.

    Raises:
        ExportError: a network cannot be exported, or gives something else in the shipped runtime; the table of times is
            not what the runtime makes.
        BundleError: what was written is not a valid bundle.
    """
    table = sine_table(tracker.window, tracker.widths.token)
    apart = float((tracker.time_emb[0] - table).abs().max())
    if not apart <= _TABLE_TOLERANCE:
        raise ExportError(f"time_emb: {apart:.2g} from the sines that the runtime computes it from")
    folder.mkdir(parents=True, exist_ok=True)
    modules: dict[str, nn.Module] = {
        FEATURES: FeatureNetwork(tracker).eval(),
        UPDATE: UpdateNetwork(tracker).eval(),
    }
    tensors = tracker_tensors(tracker)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as workshop:
        work = Path(workshop)
        paths = {net: work / f"{net}.onnx" for net in modules}
        traced, other = make_examples(tracker, 3, 11, 5), make_examples(tracker, 2, 6, 9)
        for net, module in modules.items():
            export_module(module, traced[net], *tensors[net], paths[net], precision=precision, opset=opset)

        def describe(errors: Mapping[str, Mapping[str, float]]) -> None:
            write_manifest(
                work,
                name=name,
                revision=revision,
                licence=licence,
                constants=tracker_constants(tracker),
                nets=paths,
                tensors=tensors,
                precision=WORDS[precision],
                errors=errors,
                notes={"exported_with": f"torch {torch.__version__.partition('+')[0]}", **(notes or {})},
            )

        describe({})
        cases = {net: [_record_case(modules[net], given[net]) for given in (traced, other)] for net in modules}
        errors = check_bundle(work, cases)
        for net, found in errors.items():
            if not found["relative_rms"] <= TOLERANCES[precision]:
                allowed = f"{TOLERANCES[precision]:g} is allowed in {precision}"
                raise ExportError(f"{net}: relative error of {found['relative_rms']:.2g}, {allowed}")
        describe({net: {kind: float(f"{v:.3g}") for kind, v in found.items()} for net, found in errors.items()})
        for path in (*paths.values(), work / MANIFEST):
            path.replace(folder / path.name)
    return load_bundle(folder)


def tracker_tensors(tracker: CoTracker3) -> dict[str, Tensors]:
    """Inputs and outputs of both networks: those of the contract, with the size of the pictures fixed.

    The networks look at one size only, and known sizes spare the graph its questions about shapes.
    """
    columns, rows = (int(cells) for cells in tracker.cells)
    lengths = {"h": rows, "w": columns}
    for level in range(tracker.widths.levels):
        lengths |= {f"h{level}": rows >> level, f"w{level}": columns >> level}

    def fix(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        fixed = []
        for spec in specs:
            shape = [_fix_dimension(dimension, lengths) for dimension in spec.shape]
            fixed.append(replace(spec, shape=tuple(shape)))
        return tuple(fixed)

    contract = contract_of(tracker_constants(tracker))
    return {net: (fix(inputs), fix(outputs)) for net, (inputs, outputs) in contract.items()}


def make_examples(
    tracker: CoTracker3, pictures: int, frames: int, points: int, seed: int = 0
) -> dict[str, dict[str, Tensor]]:
    """Inputs of both networks: noise for pictures and features, points near where they are asked for."""
    random = torch.Generator().manual_seed(seed)
    columns, rows = (int(cells) for cells in tracker.cells)
    shown = torch.rand(pictures, 3, 4 * rows, 4 * columns, generator=random) * 2 - 1
    # neighbouring cells are alike, as in features of pictures; white noise would correlate with nothing
    coarse = torch.randn(frames, tracker.features, rows // 4, columns // 4, generator=random)
    smooth = nn.functional.interpolate(coarse, (rows, columns), mode="bilinear", align_corners=True)
    levels = make_pyramid(nn.functional.normalize(smooth, dim=1), tracker.widths.levels)
    places = torch.rand(points, 2, generator=random) * torch.tensor([columns - 1.0, rows - 1.0])
    chosen = torch.randint(frames, (points,), generator=random)
    given = {f"level{n}": level for n, level in enumerate(levels)}
    radius = tracker.widths.radius
    given |= {
        f"support{n}": sample_support(level, chosen, places / 2**n, radius).contiguous()
        for n, level in enumerate(levels)
    }
    steps = torch.randn(frames, points, 2, generator=random)
    given |= {
        "coords": places + steps,
        "visible": torch.randn(frames, points, generator=random),
        "confident": torch.randn(frames, points, generator=random),
        "time": stretch_table(tracker.time_emb[0], frames).contiguous(),
    }
    return {FEATURES: {"pictures": shown}, UPDATE: given}


def _fix_dimension(dimension: int | str, lengths: Mapping[str, int]) -> int | str:
    factor, symbol = split_dimension(dimension)
    return factor * lengths[symbol] if symbol in lengths else dimension


def _record_case(module: nn.Module, example: Mapping[str, Tensor]) -> Case:
    with torch.no_grad():
        given = module(**example)
    outputs = [given] if isinstance(given, Tensor) else list(given)
    return Case({name: value.numpy() for name, value in example.items()}, [value.numpy() for value in outputs])
