"""How much memory networks will take, estimated before anything starts, and a refusal where it cannot fit.

Weights: bytes of the files, times what ONNX Runtime made of such a file when it was measured: it parses, converts and
rearranges them, and maps only what lies in a file of its own. Activations: a formula for each kind, whose factors were
fitted to measured peaks (docs/export.md, "Memory"); widths are read off the number of weights, as all networks of a
kind are built alike. Every sum is increased by `MARGIN`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tgvc.backends.spec import NetRecord
from tgvc.errors import ConfigError
from tgvc.memory import available_memory, device_memory
from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import Constants, FlowConstants, HumanConstants, InterpolationConstants, TrackerConstants
from tgvc.models.contract import IMAGE_TOWER, TEXT_TOKENS, TEXT_TOWER, TINY_DECODER, UNET, VAE_DECODER, VAE_ENCODER

MARGIN = 1.15
_MIB = 1 << 20
_PROGRAM = 240 * _MIB  # Python, NumPy, OpenCV, PyAV and ONNX Runtime, before any network or picture
_ON_HOST = 600 * _MIB  # what CUDA takes in the host's memory on top
# Of the bytes of a file, by where its weights lie and what they are; held while a network is loaded on the CPU
_LOADED = {("float32", False): 3.5, ("float32", True): 1.7, ("float16", False): 5.8, ("float16", True): 3.5}
# Kind residual: bytes per px of the picture, for 3 MB of networks of halves; grows with their width
_RESIDUAL_PX, _RESIDUAL_BYTES = 2900, 2_948_000
_RESIDUAL_FRAME_PX = 12  # bytes per px and frame of a segment: pictures, noise, conditions
# Kind human: likewise, for 2.4 MB of networks
_HUMAN_PX, _HUMAN_BYTES = 700, 2_354_000
# Kind flow: bytes per px, four frames at once
_FLOW_PX = 2100
# Kind interpolation, at the published width: bytes per value
_UNET_VALUES, _UNET_WIDTH, _UNET_HEADS = 1_357_810_820, 320, 5
_UNET_CELL, _UNET_SCORES = 25, 2.5  # tensors of all cells in the finest width; of all scores of attention
_VAE_WIDTH = 128
_VAE = {VAE_ENCODER: (34_163_664, 15.5), VAE_DECODER: (49_490_199, 46.0)}  # values, bytes per px and channel

_TOWER = 120 * _MIB  # of the image tower, one picture
# Kind tracker, at the published width: bytes per point and frame; per px of a picture, four of them at once
_TOKEN, _SAMPLE = 1110, 30_000
_FEATURES, _FEATURE_PX = 128, 1500


@dataclass(frozen=True)
class Footprint:
    """Estimated memory in bytes by what takes it: ``host`` and ``device``; ``what`` is to be run, in words."""

    what: str
    host: Mapping[str, int]
    device: Mapping[str, int] = field(default_factory=dict)

    @property
    def host_bytes(self) -> int:
        """All of the host's, with the margin."""
        return _sum(self.host)

    @property
    def device_bytes(self) -> int:
        """All of the device's, with the margin; 0 if it is not used."""
        return _sum(self.device)

    def describe(self) -> str:
        """The sums and what they are made of, in words."""
        parts = [f"{describe_bytes(self.host_bytes)} ({_list(self.host)})"]
        if self.device:
            parts.append(f"{describe_bytes(self.device_bytes)} on the GPU ({_list(self.device)})")
        return " and ".join(parts)


def decoding_footprint(
    bundle: ModelBundle,
    size: tuple[int, int],
    *,
    frames: int = 33,
    runs: int = 2,
    on_device: bool = False,
    tiny: bool = False,
) -> Footprint:
    """What decoding with a bundle takes at most.

    Args:
        bundle: of kind ``residual``, ``interpolation`` or ``human``.
        size: (width, height) of the pictures in px.
        frames: of the longest segment.
        runs: that go through the UNet at once: 2 with guidance, 1 without.
        on_device: networks run on a GPU.
        tiny: the tiny decoder takes the place of the autoencoder's; its pictures are counted as if it were as wide.

    Raises:
        ConfigError: a bundle that does not decode.
    """
    width, height = size
    what = f"decoding {width}x{height} with bundle {bundle.label}"
    pixels, constants = width * height, bundle.constants
    pictures = pixels * frames * _RESIDUAL_FRAME_PX
    unused = VAE_DECODER if tiny else TINY_DECODER
    loaded = {name: _loaded_bytes(record, on_device) for name, record in bundle.nets.items() if name != unused}
    if isinstance(constants, Constants):
        stored = sum(record.size for record in bundle.nets.values())
        weights = sum(loaded.values())
        activations = int(pixels * _RESIDUAL_PX * max(1.0, math.sqrt(stored / _RESIDUAL_BYTES)))
    elif isinstance(constants, InterpolationConstants):
        # the text tower has gone before the UNet comes
        weights = sum(loaded.values()) - min(loaded[TEXT_TOWER], loaded[UNET])
        activations = max(
            _unet_bytes(bundle.nets[UNET], constants, size, runs, on_device),
            *(_vae_bytes(bundle.nets[name], name, pixels, constants.cell_px, on_device) for name in _VAE),
        )
    elif isinstance(constants, HumanConstants):
        stored, weights = sum(record.size for record in bundle.nets.values()), sum(loaded.values())
        activations = int(pixels * _HUMAN_PX * max(1.0, math.sqrt(stored / _HUMAN_BYTES)))
    elif isinstance(constants, FlowConstants):
        weights, activations = sum(loaded.values()), pixels * _FLOW_PX
    else:
        raise ConfigError(f"bundle {bundle.label}: kind {bundle.kind} decodes nothing")
    networks = {"weights": weights, "activations": activations}
    if on_device:
        return Footprint(what, {"program": _PROGRAM + _ON_HOST, "pictures": pictures}, networks)
    return Footprint(what, {"program": _PROGRAM, **networks, "pictures": pictures})


def tracking_footprint(bundle: ModelBundle, samples: int, *, on_device: bool = False) -> Footprint:
    """What tracking points with a bundle takes at most.

    Args:
        bundle: of kind ``tracker``.
        samples: points x frames of one run of the update.
        on_device: networks run on a GPU.

    Raises:
        ConfigError: a bundle that does not track.
    """
    constants = bundle.constants
    if not isinstance(constants, TrackerConstants):
        raise ConfigError(f"bundle {bundle.label}: kind {bundle.kind} tracks nothing")
    weights = sum(_loaded_bytes(record, on_device) for record in bundle.nets.values())
    points = int(_SAMPLE * samples * constants.token / _TOKEN)
    maps = int(_FEATURE_PX * constants.width * constants.height * constants.channels / _FEATURES)
    networks = {"weights": weights, "activations": points + maps}
    what = f"tracking with bundle {bundle.label}"
    if on_device:
        return Footprint(what, {"program": _PROGRAM + _ON_HOST}, networks)
    return Footprint(what, {"program": _PROGRAM, **networks})


def looking_footprint(bundle: ModelBundle, *, on_device: bool = False) -> Footprint:
    """What embedding pictures with the image tower of a bundle of kind ``interpolation`` takes at most."""
    networks = {"weights": _loaded_bytes(bundle.nets[IMAGE_TOWER], on_device), "activations": _TOWER}
    what = f"looking with bundle {bundle.label}"
    if on_device:
        return Footprint(what, {"program": _PROGRAM + _ON_HOST}, networks)
    return Footprint(what, {"program": _PROGRAM, **networks})


def check_fit(
    footprint: Footprint, *, ignore: bool = False, host: int | None = None, device: int | None = None
) -> None:
    """Refuse what cannot fit before it starts.

    Args:
        footprint: of what is to be run.
        ignore: start nevertheless.
        host: bytes that are available; what the system says if None.
        device: bytes of the GPU; what its driver says if None.

    Raises:
        ConfigError: it does not fit: how much is needed for what, and how much there is.
    """
    if ignore:
        return
    host = available_memory() if host is None else host
    faults = []
    if host is not None and footprint.host_bytes > host:
        faults.append(
            f"about {describe_bytes(footprint.host_bytes)} are needed ({_list(footprint.host)}), "
            f"{describe_bytes(host)} are available"
        )
    if footprint.device:
        device = device_memory() if device is None else device
        if device is not None and footprint.device_bytes > device:
            faults.append(
                f"about {describe_bytes(footprint.device_bytes)} are needed on the GPU ({_list(footprint.device)}), "
                f"it has {describe_bytes(device)}"
            )
    if faults:
        raise ConfigError(
            f"{footprint.what}: {'; '.join(faults)}; a smaller size or a bundle in fp16 for a GPU needs less, "
            "--ignore-memory starts nevertheless"
        )


def describe_bytes(size: int) -> str:
    """A size such as ``1.4 GiB`` or ``320 MiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / _MIB:.0f} MiB"


def _loaded_bytes(record: NetRecord, on_device: bool) -> int:
    """What the weights of a network take when it is loaded."""
    stored = sum(path.stat().st_size for path in record.paths)
    if on_device:  # as they are, and once more for rearranged ones
        return int(1.3 * stored)
    kind = "float16" if "float16" in record.precision else "float32"
    return int(_LOADED[kind, record.data is not None] * stored)


def _values(record: NetRecord) -> float:
    """How many weights a network has."""
    stored = sum(path.stat().st_size for path in record.paths)
    return stored / (2 if "float16" in record.precision else 4)


def _unet_bytes(
    record: NetRecord, constants: InterpolationConstants, size: tuple[int, int], runs: int, on_device: bool
) -> int:
    """Tensors of the finest level and its skips, the scores of attention over all of its cells, keys and values."""
    step = constants.divisor * constants.cell_px
    width, height = (-(-side // step) * step for side in size)  # pictures are padded
    cells = width * height // constants.cell_px**2
    channels = _UNET_WIDTH * math.sqrt(_values(record) / _UNET_VALUES)
    maps = runs * constants.window
    value = 2 if on_device and "float16" in record.precision else 4
    tokens = runs * (TEXT_TOKENS + constants.window * constants.image_tokens)
    told = 4 * tokens * constants.heads * constants.head_width
    return told + int(value * maps * cells * (_UNET_CELL * channels + _UNET_SCORES * _UNET_HEADS * cells))


def _vae_bytes(record: NetRecord, name: str, pixels: int, cell_px: int, on_device: bool) -> int:
    """Tensors of full size, and the scores of attention over the coarsest level, for one picture."""
    values, factor = _VAE[name]
    channels = _VAE_WIDTH * math.sqrt(_values(record) / values)
    cells = pixels // cell_px**2
    half = 0.5 if on_device and "float16" in record.precision else 1.0
    return int(half * (factor * channels * pixels + 8 * cells**2))


def _sum(parts: Mapping[str, int]) -> int:
    return int(MARGIN * sum(parts.values()))


def _list(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {describe_bytes(size)}" for name, size in parts.items())
