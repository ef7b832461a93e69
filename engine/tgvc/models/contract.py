"""What the networks of a bundle have to take and give, by the kind of the bundle."""

from __future__ import annotations

from tgvc.backends.spec import Dimension, TensorSpec, split_dimension
from tgvc.models.constants import (
    AnimationConstants,
    AnyConstants,
    FlowConstants,
    HumanConstants,
    InterpolationConstants,
    TrackerConstants,
)

PLANES = 6  # of a picture at half size: four of luma, two of chroma
HINTS = 4
RGB = 3
TEXT_TOKENS = 77  # of a prompt, padded
IMAGE_PX = 224  # width and height of what the image tower looks at
ENCODER, DENOISER, DECODER = "encoder", "denoiser", "decoder"
UNET, VAE_ENCODER, VAE_DECODER = "unet", "vae_encoder", "vae_decoder"
TIME, CONTEXT = "time", "context"  # what the UNet is told, computed apart from it
IMAGE_TOWER, TEXT_TOWER = "image_tower", "text_tower"
TINY_DECODER = "tiny_decoder"  # may be missing
FEATURES, UPDATE = "features", "update"
PREDICTOR, KEY, FRAME = "predictor", "key", "frame"
MOVER = "mover"
REFERENCE, ADAPTER = "reference", "adapter"
VOCABULARY = "vocabulary"  # file of the text tower's tokens, see `tgvc.models.clip_text`; may be missing
Tensors = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]


def contract_of(constants: AnyConstants) -> dict[str, Tensors]:
    """Inputs and outputs of all networks of a bundle, by their names, from the constants of its kind."""
    if isinstance(constants, InterpolationConstants):
        return interpolation_contract(constants)
    if isinstance(constants, TrackerConstants):
        return tracker_contract(constants)
    if isinstance(constants, HumanConstants):
        return human_contract(constants)
    if isinstance(constants, FlowConstants):
        return flow_contract(constants)
    if isinstance(constants, AnimationConstants):
        return animation_contract(constants)
    return residual_contract(constants.latent_channels, constants.cell_px, constants.maps)


def optional_contract(constants: AnyConstants) -> dict[str, Tensors]:
    """Inputs and outputs of networks that a bundle may have besides, by their names.

    ``tiny_decoder``: what ``vae_decoder`` does, by a smaller network that was trained to stand in for it.
    """
    if isinstance(constants, InterpolationConstants):
        return {TINY_DECODER: interpolation_contract(constants)[VAE_DECODER]}
    return {}


def residual_contract(channels: int, cell_px: int, maps: int = 0) -> dict[str, Tensors]:
    """Inputs and outputs of the networks of kind ``residual``: diffusion of what the weight-free picture lacks.

    N pictures, B runs, T frames of a window, h and w latent cells, all of them free.

    Args:
        channels: C, of the latents.
        cell_px: width and height of a latent cell in px, even.
        maps: channels of trajectory maps that follow the hints.
    """
    half = cell_px // 2
    tensor = _tensor
    size = "N", PLANES, f"{half}*h", f"{half}*w"
    planes = tensor("planes", *size)
    latents = tensor("latents", "N", channels, "h", "w")
    lack = tensor("lack", "N", 1, f"{half}*h", f"{half}*w")
    moving = "B", channels, "T", "h", "w"
    conditions = (
        tensor("base", *moving),
        tensor("keys", "B", 2 * channels, "T", "h", "w"),
        tensor("hints", "B", HINTS + maps, "T", "h", "w"),
    )
    return {
        ENCODER: ((planes,), (latents,)),
        DENOISER: ((tensor("x", *moving), tensor("t", "B"), *conditions), (tensor("v", *moving),)),
        DECODER: ((latents, planes), (tensor("pictures", *size), lack)),  # ONNX wants another name than the input's
    }


def files_of(constants: AnyConstants) -> tuple[str, ...]:
    """Names of the files that a bundle may have beside its networks."""
    return (VOCABULARY,) if isinstance(constants, InterpolationConstants) else ()


def interpolation_contract(constants: InterpolationConstants) -> dict[str, Tensors]:
    """Inputs and outputs of the networks of kind ``interpolation``: all frames between two key pictures at once.

    B runs, T frames, S steps, N pictures or prompts, M image tokens shown to a frame, h and w latent cells, all of them
    free. Pictures are RGB in -1..1; ``moments`` are mean and log of the variance; ``z`` is what the VAE's own latents
    are, without the scale of the sampler's; ``t`` and ``fs`` hold whole numbers. ``time`` runs once for all steps of a
    schedule, a row of its ``shifts`` for each; ``context`` once for all steps of a segment.
    """
    c, d, px = constants.latent_channels, constants.context, constants.cell_px
    heads, width = constants.heads, constants.head_width
    told = (
        _tensor("text_kv", "B", heads, TEXT_TOKENS, width),
        _tensor("image_kv", "B", "T", heads, "M", width),
    )
    picture = _tensor("picture", "N", RGB, f"{px}*h", f"{px}*w")
    return {
        TIME: ((_tensor("t", "S"), _tensor("fs", "S")), (_tensor("shifts", "S", constants.shifts),)),
        CONTEXT: ((_tensor("text", "B", TEXT_TOKENS, d), _tensor("image", "B", "T", "M", d)), told),
        UNET: (
            (_tensor("x", "B", 2 * c, "T", "h", "w"), _tensor("shifts", "B", constants.shifts), *told),
            (_tensor("v", "B", c, "T", "h", "w"),),
        ),
        VAE_ENCODER: ((picture,), (_tensor("moments", "N", 2 * c, "h", "w"),)),
        VAE_DECODER: ((_tensor("z", "N", c, "h", "w"),), (picture,)),
        IMAGE_TOWER: (
            (_tensor("pixels", "N", RGB, IMAGE_PX, IMAGE_PX),),
            (
                _tensor("tokens", "N", constants.window * constants.image_tokens, d),
                _tensor("embedding", "N", constants.embedding),
            ),
        ),
        TEXT_TOWER: (
            (TensorSpec("tokens", "int64", ("N", TEXT_TOKENS)),),
            (_tensor("text", "N", TEXT_TOKENS, d),),
        ),
    }


def tracker_contract(constants: TrackerConstants) -> dict[str, Tensors]:
    """Inputs and outputs of the networks of kind ``tracker``: N pictures, K points, T frames, h x w cells of features.

    ``features`` have unit length over their channels. ``update`` is one iteration: features around every point at each
    level of the pyramid (``support``: what they were where the point was asked for), positions in cells of level 0,
    logits of "can be seen" and "is sure of it", the embedding of time.
    """
    c, px = constants.channels, constants.stride
    around = (2 * constants.radius + 1) ** 2
    levels = range(constants.levels)
    pyramid = [_tensor(f"level{n}", "T", c, f"h{n}", f"w{n}") for n in levels]
    support = [_tensor(f"support{n}", "K", around, c) for n in levels]
    return {
        FEATURES: (
            (_tensor("pictures", "N", RGB, f"{px}*h", f"{px}*w"),),
            (_tensor("features", "N", c, "h", "w"),),
        ),
        UPDATE: (
            (
                *pyramid,
                *support,
                _tensor("coords", "T", "K", 2),
                _tensor("visible", "T", "K"),
                _tensor("confident", "T", "K"),
                _tensor("time", "T", constants.token),
            ),
            (
                _tensor("new_coords", "T", "K", 2),
                _tensor("new_visible", "T", "K"),
                _tensor("new_confident", "T", "K"),
            ),
        ),
    }


def human_contract(constants: HumanConstants) -> dict[str, Tensors]:
    """Inputs and outputs of the networks of kind ``human``: N pictures or states, h x w blocks of cells, all free.

    ``predictor`` gives the state of a picture, and of a key picture the features that states act on; if states are
    measured, those of frames by their motion from one key picture, see `tgvc.analysis.cells.CellMotion`. ``key`` gives
    what the generator needs to know of a key picture, once; ``frame`` paints frames from it. ``source``: the state of
    the key picture's own frame.
    """
    c, block = constants.channels, constants.divisor
    colours, rows = (PLANES, constants.cell_px // 2) if constants.planes else (RGB, constants.cell_px)

    def map_of(name: str, count: Dimension, channels: int, factor: int) -> TensorSpec:
        return _tensor(name, count, channels, f"{factor * block}*h", f"{factor * block}*w")

    def skips(count: Dimension) -> tuple[TensorSpec, ...]:
        factors = [min(rows, 1 << (constants.halvings - n)) for n in range(constants.halvings + 1)]
        widths = [min(constants.width << n, constants.width_most) for n in range(constants.halvings + 1)]
        return tuple(map_of(f"skip{n}", count, w, f) for n, (w, f) in enumerate(zip(widths, factors, strict=True)))

    known = (map_of("picture", 1, colours, rows), map_of("features", 1, c, 1), _tensor("source", 1, 2 * c))
    state = _tensor("state", "N", 2 * c)
    measured = (map_of("picture", 1, colours, rows), map_of("motion", "N", 2, 1), map_of("trust", "N", 1, 1))
    return {
        PREDICTOR: (
            (measured, (map_of("features", 1, c, 1), state))
            if constants.measured
            else ((map_of("picture", "N", colours, rows),), (map_of("features", "N", c, 1), state))
        ),
        KEY: ((map_of("picture", "N", colours, rows),), skips("N")),
        FRAME: ((*known, _tensor("driving", "N", 2 * c), *skips(1)), (map_of("painted", "N", colours, rows),)),
    }


def flow_contract(constants: FlowConstants) -> dict[str, Tensors]:
    """Inputs and outputs of the network of kind ``flow``: N frames between two key pictures, h x w cells, all free.

    ``first, last``: the key pictures; ``warp``: the weight-free pictures of the frames. ``to_first, to_last``: where
    cells lie in both key pictures, as displacements in cells, (x, y); ``sent, when``: see
    `tgvc.synthesis.rough.Rough`. ``motion``: both displacements as the network corrected them.
    """
    half = constants.cell_px // 2
    planes = PLANES, f"{half}*h", f"{half}*w"
    inputs = [_tensor("first", 1, *planes), _tensor("last", 1, *planes), _tensor("warp", "N", *planes)]
    inputs += [_tensor(name, "N", 2, "h", "w") for name in ("to_first", "to_last")]
    inputs += [_tensor("sent", "N", 3, "h", "w"), _tensor("when", "N", 2)]
    return {MOVER: (tuple(inputs), (_tensor("pictures", "N", *planes), _tensor("motion", "N", 4, "h", "w")))}


def animation_contract(constants: AnimationConstants) -> dict[str, Tensors]:
    """Inputs and outputs of the networks of kind ``animation``: B runs, T frames, N pictures, h x w blocks of cells.

    Pictures are RGB in -1..1, ``pixels`` prepared as docs/bundle.md says. ``flow``: px, (x, y), from the key picture to
    every frame, the first of which is the key picture's own and 0. ``moved``: features of the key picture, moved, after
    each halving. ``t``: a quarter of the logarithm of the noise's deviation. ``ids``: frames per second less one,
    motion bucket, deviation of the noise on the key picture. ``residual``: of the adapter, in the order of the steps.
    The VAE's blocks are single cells; ``z`` and ``moments`` are as for ``interpolation``.
    """
    c, d, px, last = constants.latent_channels, constants.context, constants.cell_px, constants.halvings

    def size(level: int) -> tuple[Dimension, Dimension]:
        cells = 1 << (last - level)
        return (f"{cells}*h", f"{cells}*w") if cells > 1 else ("h", "w")

    block = tuple(f"{px << last}*{symbol}" for symbol in "hw")
    picture = _tensor("picture", "N", RGB, f"{px}*h", f"{px}*w")
    moved = tuple(_tensor(f"moved{n}", "B", "T", constants.channels(max(n - 1, 0)), *size(n)) for n in range(last + 1))
    pairs = zip(constants.residual_levels, constants.residual_channels, strict=True)
    residuals = tuple(_tensor(f"residual{n}", "B", "T", width, *size(level)) for n, (level, width) in enumerate(pairs))
    noisy = (
        _tensor("x", "B", 2 * c, "T", *size(0)),
        _tensor("t", "B"),
        _tensor("ids", "B", 3),
        _tensor("embedding", "B", d),
    )
    return {
        IMAGE_TOWER: ((_tensor("pixels", "N", RGB, IMAGE_PX, IMAGE_PX),), (_tensor("embedding", "N", d),)),
        VAE_ENCODER: ((picture,), (_tensor("moments", "N", 2 * c, "h", "w"),)),
        VAE_DECODER: (
            (_tensor("z", "B", "T", c, "h", "w"),),
            (_tensor("pictures", "B", "T", RGB, f"{px}*h", f"{px}*w"),),
        ),
        REFERENCE: ((_tensor("picture", "B", RGB, *block), _tensor("flow", "B", "T", 2, *block)), moved),
        ADAPTER: ((*noisy, *moved), residuals),
        UNET: ((*noisy, *residuals), (_tensor("v", "B", c, "T", *size(0)),)),
    }


def keeps_contract(found: Tensors, wanted: Tensors, *, fixed: bool) -> bool:
    """Whether a network's tensors are those of its contract, in any order.

    Args:
        found: of the network.
        wanted: of the contract.
        fixed: a free dimension may have a fixed length instead, as in networks made for one size; a symbol has one
            length in all tensors then.
    """
    lengths: dict[str, tuple[int, str]] = {}
    for got, want in zip(found, wanted, strict=True):
        by_name = {spec.name: spec for spec in got}
        if len(got) != len(want) or set(by_name) != {spec.name for spec in want}:
            return False
        for spec in want:
            own = by_name[spec.name]
            if own.dtype != spec.dtype or len(own.shape) != len(spec.shape):
                return False
            for length, dimension in zip(own.shape, spec.shape, strict=True):
                (size, free), (factor, symbol) = split_dimension(length), split_dimension(dimension)
                if not symbol or not fixed:
                    if (size, free) != (factor, symbol):
                        return False
                    continue
                whole, rest = divmod(size, factor)
                if rest or (free and free != symbol) or lengths.setdefault(symbol, (whole, free)) != (whole, free):
                    return False
    return True


def _tensor(name: str, *shape: Dimension) -> TensorSpec:
    return TensorSpec(name, "float32", shape)
