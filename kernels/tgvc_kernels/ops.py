"""The kernels by name: checks once, then the implementation that was asked for.

``implementation`` is ``"cpu"`` (Numba, the default) or ``"reference"`` (NumPy). Nothing falls back in silence.
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt

from tgvc_kernels import cpu, reference

Field = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float32]
Implementation = Literal["cpu", "reference"]

_implementations: dict[str, ModuleType] = {"cpu": cpu, "reference": reference}


def _module(implementation: Implementation) -> ModuleType:
    if implementation not in _implementations:
        raise ValueError(f"implementation={implementation!r}: expected one of {sorted(_implementations)}")
    return _implementations[implementation]


def _check_field(name: str, field: npt.NDArray[np.float32], dims: int = 3) -> None:
    if field.dtype != np.float32 or field.ndim != dims or field.shape[-1] != 2:
        raise ValueError(f"{name}: expected float32 with {dims} axes, the last of 2; got {field.dtype} {field.shape}")
    if dims == 3 and min(field.shape[:2]) < 2:
        raise ValueError(f"{name}: expected at least 2 x 2 cells, got {field.shape[:2]}")


def sample_field(field: Field, at: Field, implementation: Implementation = "cpu") -> Field:
    """Bilinear samples of a field (h, w, 2) at positions (..., 2); see `reference.sample_field`."""
    _check_field("field", field)
    result: Field = _module(implementation).sample_field(field, at)
    return result


def project(flow: Field, tau: float, iterations: int = 4, implementation: Implementation = "cpu") -> Field:
    """Backward displacement (h, w, 2) of a flow at time tau; see `reference.project`."""
    _check_field("flow", flow)
    result: Field = _module(implementation).project(flow, tau, iterations)
    return result


def shift(field: Field, by: Field, implementation: Implementation = "cpu") -> Field:
    """Composition of two displacements (h, w, 2); see `reference.shift`."""
    _check_field("field", field)
    _check_field("by", by)
    result: Field = _module(implementation).shift(field, by)
    return result


def densify(
    centres: Field, values: Field, height: int, width: int, reach: float, implementation: Implementation = "cpu"
) -> Field:
    """Field (height, width, 2) from K scattered displacements; see `reference.densify`."""
    _check_field("centres", centres, dims=2)
    _check_field("values", values, dims=2)
    result: Field = _module(implementation).densify(centres, values, height, width, reach)
    return result


def warp(plane: npt.NDArray[np.uint8], field: Field, implementation: Implementation = "cpu") -> Plane:
    """A plane (H, W) sampled at displaced positions, float32; see `reference.warp`."""
    _check_field("field", field)
    h, w = field.shape[:2]
    if (
        plane.dtype != np.uint8
        or plane.ndim != 2
        or plane.shape[0] % h
        or plane.shape != (h * (plane.shape[0] // h), w * (plane.shape[0] // h))
    ):
        raise ValueError(
            f"plane: expected uint8, a whole multiple of the field's {h} x {w}; got {plane.dtype} {plane.shape}"
        )
    result: Plane = _module(implementation).warp(plane, field)
    return result


def blend_weights(
    a: Plane, b: Plane, trust_a: Plane, trust_b: Plane, tau: float, implementation: Implementation = "cpu"
) -> Plane:
    """Share (H/2, W/2) of the later candidate; see `reference.blend_weights`."""
    if a.shape != b.shape or trust_a.shape != (a.shape[0] // 2, a.shape[1] // 2) or trust_b.shape != trust_a.shape:
        raise ValueError(f"blend_weights: shapes {a.shape} {b.shape} {trust_a.shape} {trust_b.shape} do not fit")
    result: Plane = _module(implementation).blend_weights(a, b, trust_a, trust_b, tau)
    return result


def mix(a: Plane, b: Plane, weights: Plane, implementation: Implementation = "cpu") -> npt.NDArray[np.uint8]:
    """Rounded blend uint8 (H, W) of two planes; see `reference.mix`."""
    if a.shape != b.shape or a.shape[0] % weights.shape[0]:
        raise ValueError(f"mix: shapes {a.shape} {b.shape} {weights.shape} do not fit")
    result: npt.NDArray[np.uint8] = _module(implementation).mix(a, b, weights)
    return result
