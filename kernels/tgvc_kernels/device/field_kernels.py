"""Fields and planes on a GPU: twins of `tgvc_kernels.reference`, same names and arguments, then stream and output.

Fields, planes of grey levels that are not uint8, weights and trusts are float32, float16 or bfloat16, all of one call
alike; arithmetic is float32 in the reference's order, so results are its results, rounded to the storage type.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tgvc_kernels.device.call import Call, check_cells, check_scale

_RUN = 4  # px of one thread, as in pictures.cuh
_TILE = (8, 32)  # cells of one block of blend_weights


def sample_field(field: Any, at: Any, *, stream: Any, out: Any = None) -> Any:
    """See `reference.sample_field`."""
    call = Call("fields", stream)
    source = call.take("field", field, (None, None, 2))
    check_cells("field", source.shape[:2])
    places = call.take("at", at, (*(None,) * (len(at.shape) - 1), 2))
    out, target = call.give(out, places.shape)
    count = places.size // 2
    call.launch("sample_field", count, source, places, target, *source.shape[:2], count)
    return out


def project(flow: Any, tau: float, iterations: int = 4, *, stream: Any, out: Any = None) -> Any:
    """See `reference.project`."""
    call = Call("fields", stream)
    _check_tau(tau)
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: expected at least 1")
    source = call.take("flow", flow, (None, None, 2))
    check_cells("flow", source.shape[:2])
    out, target = call.give(out, source.shape)
    call.launch("project", source.size // 2, source, target, *source.shape[:2], float(tau), iterations)
    return out


def shift(field: Any, by: Any, *, stream: Any, out: Any = None) -> Any:
    """See `reference.shift`."""
    call = Call("fields", stream)
    source = call.take("field", field, (None, None, 2))
    check_cells("field", source.shape[:2])
    step = call.take("by", by, source.shape)
    out, target = call.give(out, source.shape)
    call.launch("shift", source.size // 2, source, step, target, *source.shape[:2])
    return out


def densify(centres: Any, values: Any, height: int, width: int, reach: float, *, stream: Any, out: Any = None) -> Any:
    """See `reference.densify`; the bits are those of `cpu.densify`."""
    call = Call("fields", stream)
    if min(height, width) < 1 or not reach > 0:
        raise ValueError(f"height={height}, width={width}, reach={reach}: expected positive numbers")
    places = call.take("centres", centres, (None, 2))
    moves = call.take("values", values, places.shape)
    out, target = call.give(out, (height, width, 2))
    core = np.float32((reach / 16) ** 2)
    pull = np.float32((reach**2 + core) ** -1.75)
    call.launch("densify", height * width, places, moves, target, places.shape[0], height, width, core, pull)
    return out


def splat(features: Any, flow: Any, *, stream: Any, out: Any = None) -> Any:
    """See `reference.splat`. Makes memory for its sums, so it cannot be captured into a graph."""
    call = Call("splat", stream)
    motion = call.take("flow", flow, (None, None, 2))
    height, width = motion.shape[:2]
    check_cells("flow", (height, width))
    source = call.take("features", features, (None, height, width))
    shape = (source.shape[0] + 1, height, width)
    out, target = call.give(out, shape)
    _, sums = call.give(None, shape, "int64")
    cells = height * width
    call.launch("splat_clear", cells * shape[0], sums, cells * shape[0])
    call.launch("splat_add", cells, source, motion, sums, source.shape[0], height, width)
    call.launch("splat_finish", cells, sums, target, source.shape[0], cells)
    return out


def warp(plane: Any, field: Any, *, stream: Any, out: Any = None) -> Any:
    """See `reference.warp`."""
    call = Call("pictures", stream)
    motion = call.take("field", field, (None, None, 2))
    check_cells("field", motion.shape[:2])
    source = call.take("plane", plane, (None, None), ("uint8",))
    check_scale("plane", source.shape, motion.shape[:2])
    out, target = call.give(out, source.shape)
    call.launch("warp", -(-source.size // _RUN), source, motion, target, *source.shape, *motion.shape[:2])
    return out


def blend_weights(a: Any, b: Any, trust_a: Any, trust_b: Any, tau: float, *, stream: Any, out: Any = None) -> Any:
    """See `reference.blend_weights`."""
    call = Call("pictures", stream)
    _check_tau(tau)
    early = call.take("trust_a", trust_a, (None, None))
    late = call.take("trust_b", trust_b, early.shape)
    h, w = early.shape
    planes = [call.take(name, plane, (2 * h, 2 * w)) for name, plane in (("a", a), ("b", b))]
    out, target = call.give(out, (h, w))
    tau32 = np.float32(tau)
    odds = math.inf if tau32 == 0 else float((np.float32(1) - tau32) / tau32)
    power = -math.inf if odds == 0 else float(np.float32(math.log(odds))) if odds < math.inf else math.inf
    blocks = -(-h // _TILE[0]) * -(-w // _TILE[1])
    if blocks:
        call.launch_blocks("blend_weights", blocks, *planes, early, late, target, h, w, odds, power)
    return out


def mix(a: Any, b: Any, weights: Any, *, stream: Any, out: Any = None) -> Any:
    """See `reference.mix`."""
    call = Call("pictures", stream)
    shares = call.take("weights", weights, (None, None))
    check_cells("weights", shares.shape)
    early = call.take("a", a, (None, None))
    check_scale("a", early.shape, shares.shape)
    late = call.take("b", b, early.shape)
    out, target = call.give(out, early.shape, "uint8")
    call.launch("mix", -(-early.size // _RUN), early, late, shares, target, *early.shape, *shares.shape)
    return out


def _check_tau(tau: float) -> None:
    if not 0 <= tau <= 1:
        raise ValueError(f"tau={tau}: expected 0..1")
