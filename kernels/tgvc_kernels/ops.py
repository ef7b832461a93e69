"""The kernels by name: checks once, then the implementation that was asked for.

``implementation`` is ``"cpu"`` (Numba), ``"reference"`` (NumPy) or ``"gpu"`` (CUDA). Where it is not given the arrays
decide: those in host memory run on the CPU, those on a GPU run there. ``stream`` is the CUDA stream, asked for there
and refused elsewhere. Nothing falls back in silence.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc_kernels import cpu, reference
from tgvc_kernels.choice import Implementation, by_array, choose
from tgvc_kernels.latent_ops import (
    guidance_gradient,
    guidance_plan,
    guided_step,
    normal_noise,
    predict_clean,
    sampler_step,
)
from tgvc_kernels.picture_ops import pack_planes, rgb_to_yuv, unpack_planes, yuv_to_rgb

__all__ = [
    "Implementation",
    "blend_weights",
    "densify",
    "guidance_gradient",
    "guidance_plan",
    "guided_step",
    "mix",
    "normal_noise",
    "pack_planes",
    "predict_clean",
    "project",
    "rgb_to_yuv",
    "sample_field",
    "sampler_step",
    "shift",
    "splat",
    "unpack_planes",
    "warp",
    "yuv_to_rgb",
]

Field = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float32]


def _module(implementation: Implementation | None) -> ModuleType:
    return choose(implementation, cpu=cpu, reference=reference)


def _check_field(name: str, field: Field) -> None:
    if field.dtype != np.float32 or field.ndim != 3 or field.shape[2] != 2 or min(field.shape[:2]) < 2:
        raise ValueError(f"{name}: expected float32 (h, w, 2) of at least 2 x 2 cells, got {field.dtype} {field.shape}")


def _check_points(name: str, points: Field) -> None:
    if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{name}: expected float32 (K, 2), got {points.dtype} {points.shape}")


def _check_plane(name: str, plane: npt.NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if plane.dtype != dtype or plane.shape != shape:
        raise ValueError(f"{name}: expected {np.dtype(dtype).name} {shape}, got {plane.dtype} {plane.shape}")


def _check_scale(name: str, shape: tuple[int, ...], cells: tuple[int, ...]) -> None:
    """A plane must measure the same whole number of pixels per cell both ways."""
    scale = shape[0] // cells[0]
    if scale < 1 or shape != (scale * cells[0], scale * cells[1]):
        raise ValueError(f"{name}: expected a whole multiple of {cells[0]} x {cells[1]} cells, got {shape}")


def _check_tau(tau: float) -> None:
    if not 0 <= tau <= 1:
        raise ValueError(f"tau={tau}: expected 0..1")


@by_array
def sample_field(field: Field, at: Field, *, implementation: Implementation | None = None, stream: Any = None) -> Field:
    """Bilinear samples of a field (h, w, 2) at positions (..., 2); see `reference.sample_field`."""
    _check_field("field", field)
    if at.dtype != np.float32 or at.ndim < 1 or at.shape[-1] != 2:
        raise ValueError(f"at: expected float32 (..., 2), got {at.dtype} {at.shape}")
    result: Field = _module(implementation).sample_field(field, at)
    return result


@by_array
def project(
    flow: Field, tau: float, iterations: int = 4, *, implementation: Implementation | None = None, stream: Any = None
) -> Field:
    """Backward displacement (h, w, 2) of a flow at time tau; see `reference.project`."""
    _check_field("flow", flow)
    _check_tau(tau)
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: expected at least 1")
    result: Field = _module(implementation).project(flow, tau, iterations)
    return result


@by_array
def shift(field: Field, by: Field, *, implementation: Implementation | None = None, stream: Any = None) -> Field:
    """Composition of two displacements (h, w, 2); see `reference.shift`."""
    _check_field("field", field)
    _check_plane("by", by, np.float32, field.shape)
    result: Field = _module(implementation).shift(field, by)
    return result


@by_array
def densify(
    centres: Field,
    values: Field,
    height: int,
    width: int,
    reach: float,
    *,
    implementation: Implementation | None = None,
    stream: Any = None,
) -> Field:
    """Field (height, width, 2) from K scattered displacements; see `reference.densify`."""
    _check_points("centres", centres)
    _check_plane("values", values, np.float32, centres.shape)
    if min(height, width) < 1 or not reach > 0:
        raise ValueError(f"height={height}, width={width}, reach={reach}: expected positive numbers")
    result: Field = _module(implementation).densify(centres, values, height, width, reach)
    return result


@by_array
def splat(
    features: npt.NDArray[np.float32], flow: Field, *, implementation: Implementation | None = None, stream: Any = None
) -> npt.NDArray[np.float32]:
    """Features (C, h, w) moved forwards by a flow (h, w, 2), and how much came where; see `reference.splat`."""
    _check_field("flow", flow)
    _check_plane("features", features, np.float32, (*features.shape[:1], *flow.shape[:2]))
    result: npt.NDArray[np.float32] = _module(implementation).splat(features, flow)
    return result


@by_array
def warp(
    plane: npt.NDArray[np.uint8], field: Field, *, implementation: Implementation | None = None, stream: Any = None
) -> Plane:
    """A plane (H, W) sampled at displaced positions, float32; see `reference.warp`."""
    _check_field("field", field)
    _check_plane("plane", plane, np.uint8, plane.shape[:2])
    _check_scale("plane", plane.shape, field.shape[:2])
    result: Plane = _module(implementation).warp(plane, field)
    return result


@by_array
def blend_weights(
    a: Plane,
    b: Plane,
    trust_a: Plane,
    trust_b: Plane,
    tau: float,
    *,
    implementation: Implementation | None = None,
    stream: Any = None,
) -> Plane:
    """Share (H/2, W/2) of the later candidate; see `reference.blend_weights`."""
    _check_tau(tau)
    if trust_a.ndim != 2:
        raise ValueError(f"trust_a: expected float32 (H/2, W/2), got {trust_a.dtype} {trust_a.shape}")
    cells = trust_a.shape
    for name, trust in (("trust_a", trust_a), ("trust_b", trust_b)):
        _check_plane(name, trust, np.float32, cells)
    for name, plane in (("a", a), ("b", b)):
        _check_plane(name, plane, np.float32, (2 * cells[0], 2 * cells[1]))
    result: Plane = _module(implementation).blend_weights(a, b, trust_a, trust_b, tau)
    return result


@by_array
def mix(
    a: Plane, b: Plane, weights: Plane, *, implementation: Implementation | None = None, stream: Any = None
) -> npt.NDArray[np.uint8]:
    """Rounded blend uint8 (H, W) of two planes; see `reference.mix`."""
    if weights.dtype != np.float32 or weights.ndim != 2 or min(weights.shape) < 2:
        raise ValueError(
            f"weights: expected float32 (h, w) of at least 2 x 2 cells, got {weights.dtype} {weights.shape}"
        )
    _check_plane("a", a, np.float32, a.shape[:2])
    _check_scale("a", a.shape, weights.shape)
    _check_plane("b", b, np.float32, a.shape)
    result: npt.NDArray[np.uint8] = _module(implementation).mix(a, b, weights)
    return result
