"""Solvers by the names that users know, as lists of numbers per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tgvc.diffusion.schedule import Schedule, Spacing
from tgvc.diffusion.steps import StepNumbers, ddim_steps, dpm_steps
from tgvc.errors import ConfigError

DDIM, DPMPP_2M = "ddim", "dpmpp-2m"
SOLVERS = (DDIM, DPMPP_2M)
_DETERMINISTIC: dict[str, Callable[[Schedule], list[StepNumbers]]] = {DPMPP_2M: dpm_steps}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the way from noise to clean latents is gone.

    ``solver``: one of `SOLVERS`. ``spacing``: where its steps lie, see `tgvc.diffusion.schedule.place_timesteps`.
    ``cfg_start, cfg_stop``: guidance without a classifier begins and ends after these shares of the steps, in order of
    work.
    """

    solver: str = DDIM
    spacing: Spacing = "uniform_trailing"
    cfg_start: float = 0.0
    cfg_stop: float = 1.0

    @property
    def cfg_range(self) -> tuple[float, float]:
        """``cfg_start, cfg_stop``."""
        return self.cfg_start, self.cfg_stop

    @property
    def label(self) -> str:
        """In a few words, for reports."""
        words = [self.solver]
        if self.spacing != "uniform_trailing":
            words.append(self.spacing)
        if self.cfg_range != (0.0, 1.0):
            words.append(f"cfg {self.cfg_start:g}..{self.cfg_stop:g}")
        return ", ".join(words)


DEFAULT = Plan()


def plan_steps(schedule: Schedule, plan: Plan, *, noisy: bool = False) -> list[StepNumbers]:
    """The steps of a solver, in order of work.

    Args:
        schedule: timesteps, eta and weights.
        plan: which solver, and where it is guided.
        noisy: as of `tgvc.diffusion.steps.ddim_steps`.

    Raises:
        ConfigError: fresh noise, or a noisy end, of a solver that has none; no step that is guided.
    """
    if plan.solver == DDIM:
        steps = ddim_steps(schedule, noisy=noisy)
    else:
        if plan.solver not in _DETERMINISTIC:
            raise ConfigError(f"solver={plan.solver!r}: expected one of {', '.join(SOLVERS)}")
        if schedule.eta > 0:
            raise ConfigError(
                f"eta={schedule.eta:g}: expected 0 with solver={plan.solver}, which adds no noise; use ddim"
            )
        if noisy:
            raise ConfigError(
                f"noisy: expected False with solver={plan.solver}, which ends on the clean estimate; use ddim"
            )
        steps = _DETERMINISTIC[plan.solver](schedule)
    return guide_between(steps, plan.cfg_start, plan.cfg_stop)


def guide_between(steps: Sequence[StepNumbers], start: float, stop: float) -> list[StepNumbers]:
    """The same steps, of which only those from ``start`` to ``stop`` are guided without a classifier.

    Args:
        steps: in order of work, S of them.
        start: share of the steps before the first guided one, 0..1, rounded down to whole steps.
        stop: share of the steps up to the last guided one.

    Raises:
        ConfigError: no step would be guided.

    Source: Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in
    Diffusion Models", 2024; shares of steps as of the guiders of diffusers.
    """
    first, last = int(start * len(steps)), int(stop * len(steps))
    if not 0 <= first < last:
        raise ConfigError(
            f"cfg_start={start:g}, cfg_stop={stop:g}: no one of {len(steps)} steps would be guided; use cfg=1 for none"
        )
    return [replace(step, guided=first <= n < last) for n, step in enumerate(steps)]
