"""From what a user asks for to the generator that paints, and to the networks that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tgvc.config import FLOW_BUNDLE, HUMAN_BUNDLE, DecoderConfig
from tgvc.synthesis.densify import Spread
from tgvc.synthesis.grain import SHARE
from tgvc.synthesis.group import GroupGenerator, WarpGroups
from tgvc.synthesis.human import NAME as HUMAN
from tgvc.synthesis.human import GroupsByKind, HumanGroups

if TYPE_CHECKING:
    from tgvc.backends.base import Backend
    from tgvc.models.bundle import ModelBundle
    from tgvc.models.human import HumanNetworks
    from tgvc.synthesis.stretches import Underpainter

LATENT, FLOW = "latent", "flow"
BUNDLES = {LATENT: "nano", FLOW: FLOW_BUNDLE, HUMAN: HUMAN_BUNDLE}  # of each generator, unless another one is named
OpenNetworks: TypeAlias = "tuple[ModelBundle, Backend]"


def open_networks(config: DecoderConfig) -> OpenNetworks | None:
    """The bundle and the backend that a configuration asks for; None where it asks for neither."""
    return None if config.generator in (None, "warp") else _open_bundle(config, str(config.generator))


def make_generator(config: DecoderConfig, networks: OpenNetworks | None = None) -> GroupGenerator:
    """The generator that a configuration asks for, ready to paint.

    Args:
        config: of the decoder.
        networks: as `open_networks` gives them; opened here if None.
    """
    networks = networks or open_networks(config)
    if config.generator in (None, HUMAN):
        tracks = None if config.generator else make_warp(config)
        return GroupsByKind(config.generator, tracks, _make_human(config, networks))
    if networks is None:
        return GroupsByKind(config.generator, make_warp(config), None)
    make = _make_driven if config.generator == FLOW else _make_latent
    return GroupsByKind(config.generator, make(config, *networks), None)


def make_warp(config: DecoderConfig) -> WarpGroups:
    """The generator without networks."""
    spread: Spread = "nearest" if config.spread == "nearest" else "shepard"
    return WarpGroups(config.threads, spread, tails=config.ends != "first")


def check_memory(config: DecoderConfig, networks: OpenNetworks, size: tuple[int, int]) -> None:
    """Refuse pictures for which the networks will find no memory.

    Raises:
        ConfigError: how much is needed and how much there is.
    """
    from tgvc.backends.places import HOST
    from tgvc.models.footprint import check_fit, decoding_footprint

    bundle, backend = networks
    runs = 1 if config.cfg == 1.0 else 2
    on_device = backend.device != HOST
    for each in (bundle, _following_bundle(config)):
        if each is not None:
            footprint = decoding_footprint(each, size, runs=runs, on_device=on_device, tiny=config.vae == "tiny")
            check_fit(footprint, ignore=config.ignore_memory)


# what only networks need is imported where there are some


def _open_bundle(config: DecoderConfig, generator: str) -> OpenNetworks:
    from tgvc.backends.base import AUTO, load_backend
    from tgvc.models.bundle import load_bundle
    from tgvc.synthesis.interpolation.setup import check_kind

    bundle = load_bundle(BUNDLES[generator] if config.bundle is None else config.bundle)
    if generator == LATENT:
        check_kind(config, bundle)
    return bundle, load_backend(config.backend or AUTO, threads=config.threads)


def _make_human(config: DecoderConfig, networks: OpenNetworks | None) -> HumanGroups:
    """The generator of states; its networks are opened when the first group comes, unless they are open."""

    def open_human(matrix: int) -> HumanNetworks:
        from tgvc.models.human import HumanNetworks

        return HumanNetworks(*(networks or _open_bundle(config, HUMAN)), matrix)

    return HumanGroups(open_human)


def _make_driven(config: DecoderConfig, bundle: ModelBundle, backend: Backend) -> GroupGenerator:
    from tgvc.models.flow import FlowNetworks
    from tgvc.synthesis.driven import DrivenGroups

    driven, following = DrivenGroups(FlowNetworks(bundle, backend)), _following_bundle(config)
    return driven if following is None else _make_latent(config, following, backend, under=driven)


def _following_bundle(config: DecoderConfig) -> ModelBundle | None:
    """The bundle whose diffusion goes over what another one painted; None where nothing does."""
    from tgvc.models.bundle import load_bundle

    return load_bundle(BUNDLES[LATENT]) if config.generator == FLOW and config.steps else None


def _make_latent(
    config: DecoderConfig, bundle: ModelBundle, backend: Backend, under: Underpainter | None = None
) -> GroupGenerator:
    from tgvc.devices.choice import find_device
    from tgvc.models.constants import INTERPOLATION
    from tgvc.models.nets import Networks
    from tgvc.synthesis.fast import choose_plan, open_fast_way
    from tgvc.synthesis.interpolation.setup import make_interpolation
    from tgvc.synthesis.latent import LatentGenerator, LatentOptions
    from tgvc.synthesis.restored import RestoredKeys

    config, device = open_fast_way(config, bundle), find_device(backend.device)
    if bundle.kind == INTERPOLATION:
        return make_interpolation(config, bundle, backend, device)
    nets = Networks(bundle, backend)
    detail = nets.constants.detail if config.detail is None else config.detail
    options = LatentOptions(
        steps=int(config.steps or nets.constants.steps),
        detail=detail,
        grain=SHARE if config.grain is None else config.grain,
        guidance=config.guidance or 0.0,
        dense=config.guides == "all",
        move_noise=config.noise == "moved",
        moved=config.base != "faded",
        plan=choose_plan(config),
    )
    painter = LatentGenerator(nets, options, device, under)
    return RestoredKeys(painter) if config.paint == "keys" else painter
