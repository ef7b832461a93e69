"""From what a user asks for to a generator of kind ``interpolation``."""

from __future__ import annotations

from tgvc.backends.base import Backend
from tgvc.config import OF_INTERPOLATION, OF_RESIDUAL, DecoderConfig
from tgvc.devices.base import Device
from tgvc.diffusion.solvers import DDIM, DEFAULT
from tgvc.errors import ConfigError
from tgvc.models.bundle import ModelBundle
from tgvc.models.clip_text import Vocabulary, tokenise_prompts
from tgvc.models.constants import INTERPOLATION, RESIDUAL
from tgvc.models.contract import TINY_DECODER, VAE_DECODER, VOCABULARY
from tgvc.models.interpolation import InterpolationNetworks, Tokens
from tgvc.synthesis.fast import choose_plan
from tgvc.synthesis.interpolation.generator import STRENGTH, InterpolationGenerator, InterpolationOptions


def check_kind(config: DecoderConfig, bundle: ModelBundle) -> None:
    """Refuse options that mean nothing to bundles of this kind.

    Raises:
        ConfigError: names the option and the kind that it belongs to.
    """
    foreign: tuple[str, ...] = OF_INTERPOLATION
    kind = INTERPOLATION
    if bundle.kind == INTERPOLATION:
        foreign, kind = OF_RESIDUAL, RESIDUAL
    for name in foreign:
        value = getattr(config, name)
        if value is not None:
            raise ConfigError(
                f"{name}={value!r}: expected a bundle of kind {kind} beside it; {bundle.label} is {bundle.kind}"
            )


def make_interpolation(
    config: DecoderConfig, bundle: ModelBundle, backend: Backend, device: Device
) -> InterpolationGenerator:
    """The generator that a configuration asks for, on the backend's device; what it does not say is the bundle's.

    Raises:
        ConfigError: options that do not fit the bundle or each other.
        BundleError: another kind of bundle, or a vocabulary that is none.
    """
    nets = InterpolationNetworks(bundle, backend, decoder=TINY_DECODER if config.vae == "tiny" else VAE_DECODER)
    constants, parity = nets.constants, config.parity == "reference"
    if parity and config.guidance:
        raise ConfigError(
            f"guidance={config.guidance}: expected 0 or nothing with parity=reference, whose pull is fixed"
        )
    plan = choose_plan(config)
    if parity and config.vae == "tiny":
        raise ConfigError("vae='tiny': expected full with parity=reference, which is as published")
    if parity and plan != DEFAULT:
        raise ConfigError(f"solver={plan.label}: expected {DEFAULT.label} with parity=reference, which is as published")
    noisy = constants.eta if plan.solver == DDIM else 0.0  # other solvers add no noise; one asked for is refused
    options = InterpolationOptions(
        steps=int(config.steps or constants.steps),
        eta=noisy if config.eta is None else config.eta,
        scale=constants.scale if config.cfg is None else config.cfg,
        rescale=constants.rescale if config.rescale is None else config.rescale,
        fs=int(config.fs or constants.fs),
        guidance=STRENGTH if config.guidance is None else config.guidance,
        parity=parity,
        plan=plan,
    )
    if plan.cfg_range != DEFAULT.cfg_range and options.scale == 1.0:
        raise ConfigError(
            f"cfg_start, cfg_stop={plan.cfg_range}: expected cfg other than 1, which is no guidance at all"
        )
    facts = {
        "bundle": bundle.label + (", tiny decoder" if nets.decoder == TINY_DECODER else ""),
        "backend": f"{backend.name} {backend.version}",
        "providers": backend.providers,
    }
    return InterpolationGenerator(nets, options, read_prompts(bundle, config.prompt or ""), facts, device)


def read_prompts(bundle: ModelBundle, prompt: str) -> Tokens:
    """Tokens int64 (2, 77) of a prompt and of the empty one.

    Raises:
        ConfigError: a prompt that the bundle has no vocabulary for.
        BundleError: a vocabulary that is none.
    """
    file = bundle.files.get(VOCABULARY) if prompt.strip() else None
    vocabulary = None if file is None else Vocabulary.parse(file.path.read_bytes())
    return tokenise_prompts([prompt, ""], vocabulary)
