"""What a checkpoint of the published base model stores of its schedule, so that one of another schedule is noticed."""

from __future__ import annotations

import numpy as np

from tgvc.diffusion.schedule import TRAIN_STEPS, dynamic_scale, linear_abar
from tgvc.types import FloatArray

SCALE_STEPS = 1400  # entries of ``scale_arr``: 400 that fall, and one per timestep after them


def published_buffers() -> dict[str, FloatArray]:
    """The 13 buffers by their names, float32 (1000,), ``scale_arr`` (1400,); for v-prediction.

    Computed in float64 and rounded once. Source: the base model of T-GVC; posterior: Ho et al. 2020, equation 7.
    """
    abar = linear_abar(TRAIN_STEPS)
    before = np.concatenate([[1.0], abar[:-1]])
    betas = 1 - abar / before
    variance = betas * (1 - before) / (1 - abar)
    nothing = np.zeros(TRAIN_STEPS)
    with np.errstate(divide="ignore"):
        log_spread = np.log(1 - abar)
    exact = {
        "betas": betas,
        "alphas_cumprod": abar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(abar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - abar),
        "log_one_minus_alphas_cumprod": log_spread,
        "sqrt_recip_alphas_cumprod": nothing,
        "sqrt_recipm1_alphas_cumprod": nothing,
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(before) / (1 - abar),
        "posterior_mean_coef2": (1 - before) * np.sqrt(1 - betas) / (1 - abar),
        "scale_arr": np.array([dynamic_scale(t) for t in range(SCALE_STEPS)]),
    }
    return {name: values.astype(np.float32) for name, values in exact.items()}
