"""What the networks of a bundle cost at a size of pictures, and what a segment of frames costs with all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tgvc.config import EncoderConfig
from tgvc.errors import ConfigError
from tgvc.models.bundle import ModelBundle, load_bundle
from tgvc.models.constants import (
    AnimationConstants,
    Constants,
    FlowConstants,
    HumanConstants,
    InterpolationConstants,
    TrackerConstants,
)
from tgvc.models.contract import (
    CONTEXT,
    DECODER,
    DENOISER,
    ENCODER,
    FRAME,
    IMAGE_TOWER,
    KEY,
    MOVER,
    PREDICTOR,
    TEXT_TOWER,
    TIME,
    UNET,
    VAE_DECODER,
    VAE_ENCODER,
)
from tgvc.models.cost import Cost, join_costs
from tgvc.models.flow import AT_ONCE
from tgvc.models.graph_cost import measure_net
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.protocol.report import describe_ceilings, format_seconds
from tgvc_bench.records import shorten

_GROUP = EncoderConfig().group  # frames of a group of kind "affine", unless the scene changes
_BETWEEN = 32  # frames from one key picture of profile dynamics to the next, if it does not drift


def describe_bundle(
    which: str, size: tuple[int, int], frames: int | None, points: int, ceilings: Ceilings
) -> dict[str, Any]:
    """Cost of one run of every network of a bundle, and of a whole segment, beside the ceilings of a machine.

    Args:
        which: name or folder of a bundle.
        size: (width, height) of the pictures in px.
        frames: of a segment; the bundle's window, or the usual number between key pictures, if None.
        points: that a tracker follows.
        ceilings: of the machine.

    Raises:
        BundleError: no such bundle, or a network whose cost cannot be told.
        BackendUnavailableError: the package onnx is not installed.
    """
    bundle = load_bundle(which)
    lengths = choose_lengths(bundle, size, frames, points)
    costs = {name: measure_net(record, lengths) for name, record in bundle.nets.items()}
    found: dict[str, Any] = {
        "bundle": bundle.label,
        "size": list(size),
        "lengths": dict(lengths),
        "ceilings": ceilings.as_dict(),
        "networks": {name: describe_cost(cost, ceilings) for name, cost in costs.items()},
    }
    if (runs := runs_of_segment(bundle, lengths)) is not None:
        whole = join_costs("segment", [(costs[name], times) for name, times in runs.items()])
        found["segment"] = {"runs": runs, **describe_cost(whole, ceilings)}
    return found


def choose_lengths(bundle: ModelBundle, size: tuple[int, int], frames: int | None, points: int) -> dict[str, int]:
    """Lengths of all symbols of a bundle's tensors, as they are in one run of each network.

    Raises:
        ConfigError: pictures that are no whole number of cells, or a kind of bundle whose sizes are not known here.
    """
    constants, (width, height) = bundle.constants, size
    if isinstance(constants, AnimationConstants):
        raise ConfigError(f"bundle {bundle.label}: kind {bundle.kind}, which no generator runs; its cost is not known")
    if isinstance(constants, TrackerConstants):
        rows, columns = constants.height // constants.stride, constants.width // constants.stride
        pyramid = {
            f"{name}{n}": side >> n for n in range(constants.levels) for name, side in (("h", rows), ("w", columns))
        }
        return {"N": 1, "T": frames or constants.window, "K": points, "h": rows, "w": columns, **pyramid}
    if isinstance(constants, HumanConstants):  # pictures are continued to whole blocks
        block = constants.cell_px * constants.divisor
        return {"N": 1, "T": frames or _GROUP, "h": -(-height // block), "w": -(-width // block)}
    cell = constants.cell_px * (constants.divisor if isinstance(constants, InterpolationConstants) else 1)
    if width % cell or height % cell:
        raise ConfigError(f"size={width}x{height}: expected multiples of {cell} px for bundle {bundle.label}")
    cells = {"h": height // constants.cell_px, "w": width // constants.cell_px}
    if isinstance(constants, FlowConstants):
        between = frames or _BETWEEN
        return {"N": min(AT_ONCE, between), "T": between, **cells}
    lengths = {"N": 1, "B": 1, "T": frames or constants.window, **cells}
    if isinstance(constants, InterpolationConstants):
        lengths |= {"M": constants.image_tokens, "S": constants.steps}
    return lengths


def runs_of_segment(bundle: ModelBundle, lengths: Mapping[str, int]) -> dict[str, int] | None:
    """How often each network runs for one window of frames with the bundle's own steps; None for a tracker.

    A window of kind ``flow`` is the frames between two key pictures; of kind ``human`` those of one key picture, which
    is painted too.
    """
    constants, frames = bundle.constants, lengths["T"]
    if isinstance(constants, Constants):
        return {ENCODER: frames, DENOISER: constants.steps, DECODER: frames}
    if isinstance(constants, InterpolationConstants):
        runs = 1 if constants.scale == 1 else 2
        once = {IMAGE_TOWER: 1, TEXT_TOWER: runs, VAE_ENCODER: 2, TIME: 1, CONTEXT: runs}
        return {**once, UNET: runs * constants.steps, VAE_DECODER: frames}
    if isinstance(constants, HumanConstants):
        return {PREDICTOR: 1, KEY: 1, FRAME: frames}
    if isinstance(constants, FlowConstants):
        return {MOVER: -(-frames // lengths["N"])}
    return None


def describe_cost(cost: Cost, ceilings: Ceilings) -> dict[str, Any]:
    """Numbers of a cost, and the least time that it takes with these ceilings: fused, and one operation by one."""
    rates = ceilings.flop_per_s, ceilings.bytes_per_s
    return {
        "flop": cost.flop,
        "parameters": cost.parameters,
        "weight_bytes": cost.weight_bytes,
        "bytes_fused": cost.heavy_bytes,
        "bytes_unfused": cost.bytes,
        "operations": {
            kind: sum(one.kind == kind for one in cost.operations)
            for kind in ("convolution", "product", "attention", "other")
        },
        "shares": {kind: shorten(cost.share(kind), 3) for kind in ("convolution", "product", "attention")},
        "roofline_s": shorten(cost.roofline(*rates), 4),
        "roofline_unfused_s": shorten(cost.roofline(*rates, fused=False), 4),
    }


def format_costs(found: Mapping[str, Any]) -> str:
    """The costs of a bundle as a table."""
    head = (
        "network",
        "GFLOP",
        "parameters",
        "weights MB",
        "MB fused",
        "MB unfused",
        "heavy operations",
        "at least",
        "unfused",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = dict(found["networks"])
    if "segment" in found:
        runs = ", ".join(f"{times} x {name}" for name, times in found["segment"]["runs"].items())
        rows[f"segment: {runs}"] = found["segment"]
    for name, cost in rows.items():
        heavy = sum(count for kind, count in cost["operations"].items() if kind != "other")
        cells = [
            name,
            f"{cost['flop'] / 1e9:,.1f}",
            f"{cost['parameters']:,}",
            *(f"{cost[key] / 1e6:,.1f}" for key in ("weight_bytes", "bytes_fused", "bytes_unfused")),
            f"{heavy:,}",
            format_seconds(cost["roofline_s"]),
            format_seconds(cost["roofline_unfused_s"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    width, height = found["size"]
    sizes = ", ".join(f"{name} = {length}" for name, length in found["lengths"].items())
    lines += ["", f"{found['bundle']} at {width}x{height}: {sizes}; {describe_ceilings(found['ceilings'])}"]
    return "\n".join(lines)
