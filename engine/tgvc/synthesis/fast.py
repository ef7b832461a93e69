"""From what a user asks for to the way from noise to clean latents."""

from __future__ import annotations

from tgvc.config import DecoderConfig
from tgvc.diffusion.schedule import Spacing
from tgvc.diffusion.solvers import DDIM, Plan

_SPACINGS: dict[str | None, Spacing] = {
    None: "uniform_trailing",
    "trailing": "uniform_trailing",
    "ays-sd": "ays-sd",
    "ays-svd": "ays-svd",
}


def choose_plan(config: DecoderConfig) -> Plan:
    """Solver, timesteps and guided steps that a configuration asks for."""
    return Plan(
        solver=config.solver or DDIM,
        spacing=_SPACINGS[config.timesteps],
        cfg_start=config.cfg_start or 0.0,
        cfg_stop=1.0 if config.cfg_stop is None else config.cfg_stop,
    )
