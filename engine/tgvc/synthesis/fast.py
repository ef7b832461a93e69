"""From what a user asks for to the way from noise to clean latents; fast ways by name, each behind a measurement.

A fast way ends elsewhere than many steps do. How far, is measured for every bundle (`tgvc-bench fast`) and kept in the
notes of its manifest; a bundle without a measurement within the limit is not run that way. Solver, timesteps and
steps given one by one promise nothing, and are not checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tgvc.config import DecoderConfig
from tgvc.diffusion.schedule import Spacing
from tgvc.diffusion.solvers import DDIM, Plan
from tgvc.errors import ConfigError
from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import INTERPOLATION, is_number
from tgvc.models.contract import TINY_DECODER

NOTE = "fast"  # where a manifest's notes keep measurements
_SPACINGS: dict[str | None, Spacing] = {
    None: "uniform_trailing",
    "trailing": "uniform_trailing",
    "ays-sd": "ays-sd",
    "ays-svd": "ays-svd",
}


@dataclass(frozen=True, kw_only=True)
class FastWay:
    """A preset, and how far from many steps it may end.

    ``fields``: of `DecoderConfig`. ``limit``: of the distance, as a share of what many steps add to the weight-free
    picture; None for the distance of the bundle's own number of steps, taken evenly by DDIM. ``kind``: of the bundles
    that know these options, None = all. ``net``: a network that the bundle must have.
    """

    fields: Mapping[str, Any]
    limit: float | None
    kind: str | None = None
    net: str | None = None

    def misfit(self, bundle: ModelBundle) -> str:
        """What the bundle lacks for it; empty if it is suited."""
        if self.kind is not None and bundle.kind != self.kind:
            return f"is of kind {bundle.kind}, expected {self.kind}"
        return f"has no network {self.net}" if self.net is not None and self.net not in bundle.nets else ""


_TEN = {"steps": 10, "solver": "dpmpp-2m", "timesteps": "ays-sd"}
FAST_WAYS: Mapping[str, FastWay] = {
    "steps3": FastWay(fields={"steps": 3, "solver": "ddim", "timesteps": "ays-svd"}, limit=None),
    "steps10": FastWay(fields=_TEN, limit=0.25),
    "steps10-half": FastWay(fields=_TEN | {"cfg_start": 0.25, "cfg_stop": 0.75}, limit=0.25, kind=INTERPOLATION),
    "steps10-tiny": FastWay(fields=_TEN | {"vae": "tiny"}, limit=0.25, kind=INTERPOLATION, net=TINY_DECODER),
}


def fast_ways(bundle: ModelBundle) -> dict[str, FastWay]:
    """The presets that a bundle is suited for."""
    return {name: way for name, way in FAST_WAYS.items() if not way.misfit(bundle)}


def choose_plan(config: DecoderConfig) -> Plan:
    """Solver, timesteps and guided steps that a configuration asks for."""
    return Plan(
        solver=config.solver or DDIM,
        spacing=_SPACINGS[config.timesteps],
        cfg_start=config.cfg_start or 0.0,
        cfg_stop=1.0 if config.cfg_stop is None else config.cfg_stop,
    )


def open_fast_way(config: DecoderConfig, bundle: ModelBundle) -> DecoderConfig:
    """The configuration with its fast way spelled out; the same where it asks for none.

    Raises:
        ConfigError: the bundle was not measured on this way, or did not keep its limit: with the numbers.
    """
    if config.fast is None:
        return config
    way, kept = FAST_WAYS[config.fast], bundle.notes.get(NOTE)
    if misfit := way.misfit(bundle):
        raise ConfigError(f"fast={config.fast}: bundle {bundle.label} {misfit}")
    found = kept.get(config.fast) if isinstance(kept, Mapping) else None
    fault = gate_fault(way, found)
    if not fault and isinstance(found, Mapping) and found.get("networks") != networks_hash(bundle):
        fault = "was measured on it with other weights"
    if fault:
        raise ConfigError(
            f"fast={config.fast}: bundle {bundle.label} {fault}; measure it with `tgvc-bench fast --note`, or give "
            "--steps, --solver and --timesteps, which promise nothing"
        )
    eta = 0.0 if bundle.kind == INTERPOLATION else None  # fresh noise leads elsewhere every time
    return replace(config, fast=None, eta=eta, **way.fields)


def networks_hash(bundle: ModelBundle) -> str:
    """Sixteen digits that are others for other networks or weights, whatever the bundle is called."""
    files = [(name, record.sha256, record.data and record.data.sha256) for name, record in bundle.nets.items()]
    return hashlib.sha256(repr(sorted(files)).encode()).hexdigest()[:16]


def gate_fault(way: FastWay, found: Any) -> str:
    """Why a measurement does not allow a fast way; empty if it does.

    Args:
        way: that is asked for.
        found: its fields, ``error`` and ``limit``, as a manifest's notes have them; anything else does not allow it.
    """
    if not isinstance(found, Mapping):
        return "was not measured on it"
    if any(found.get(name) != value for name, value in way.fields.items()):
        return "was measured on another preset of this name"
    error, limit = found.get("error"), found.get("limit") if way.limit is None else way.limit
    if not is_number(error) or not is_number(limit):
        return "has a measurement without numbers"
    assert error is not None
    assert limit is not None
    if not 0 <= error <= limit:
        return f"ends too far from many steps on it: {error:g} of what they add, at most {limit:g}"
    return ""
