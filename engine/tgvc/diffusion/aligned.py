"""Timesteps of published schedules for few steps, which spend them where they count."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tgvc.errors import ConfigError
from tgvc.types import IntArray

Aligned: TypeAlias = Literal["ays-sd", "ays-svd"]

# Ends of ten steps. Source: Sabour et al., "Align Your Steps: Optimizing Sampling Schedules in Diffusion Models", 2024:
# Stable Diffusion 1.5 by its timesteps, as the authors' page has them, Stable Video Diffusion by noise over signal
_STABLE = (999, 850, 736, 645, 545, 455, 343, 233, 124, 24, 0)
_VIDEO = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)
_FIRST_BETA, _LAST_BETA = 0.00085, 0.012  # of Stable Diffusion, whose schedule ends before pure noise


def place_aligned(steps: int, kind: Aligned, abar: npt.NDArray[np.float64]) -> IntArray:
    """Timesteps int64 (steps,), increasing, the last one pure noise, nearest to the levels of a published schedule.

    Numbers of steps other than ten are interpolated in the logarithm of noise over signal, as the paper does.
    ``ays-sd`` was found for Stable Diffusion's betas: its levels are looked up there, so that ten steps are exactly the
    published timesteps 24, 124, 233, 343, 455, 545, 645, 736, 850, 999. ``ays-svd`` has no timesteps of its own: its
    levels are looked up in ``abar``.

    Args:
        steps: of denoising, at least 1.
        kind: which schedule.
        abar: float64 (N,), of the schedule in use.

    Raises:
        ConfigError: so many steps that two fall on one timestep; ``ays-sd`` with N other than 1000.
    """
    if kind == "ays-sd":
        known = _log_ratio(_stable_abar())
        if abar.size != known.size:
            raise ConfigError(f"timesteps={kind}: expected a schedule of {known.size} timesteps, got {abar.size}")
        ends = known[list(_STABLE)]
    else:
        known, ends = _log_ratio(abar), np.log(_VIDEO)
    wanted = np.interp(np.linspace(0, 1, steps + 1), np.linspace(0, 1, ends.size), ends)[:-1]
    nearest = np.abs(known[None, :] - wanted[:, None]).argmin(axis=1)
    nearest[0] = abar.size - 1  # sampling starts from pure noise, whatever the published schedule starts from
    places = np.sort(nearest).astype(np.int64)
    if (np.diff(places) < 1).any():
        raise ConfigError(f"steps={steps}: two of them fall on one timestep of {kind}; expected fewer, such as 10")
    return places


def _stable_abar() -> npt.NDArray[np.float64]:
    betas = np.linspace(math.sqrt(_FIRST_BETA), math.sqrt(_LAST_BETA), _STABLE[0] + 1) ** 2
    return np.asarray(np.cumprod(1 - betas))


def _log_ratio(abar: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logarithm of noise over signal; infinite where there is no signal."""
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * (np.log(1 - abar) - np.log(abar)))
