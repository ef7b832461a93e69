"""What the networks of a bundle have to take and give, by the kind of the bundle."""

from __future__ import annotations

from tgvc.backends.spec import Dimension, TensorSpec

PLANES = 6  # of a picture at half size: four of luma, two of chroma
HINTS = 4
GRAIN = 4  # noise: one number per pixel of luma, in phases like it
KINDS = ("residual",)
ENCODER, DENOISER, DECODER = "encoder", "denoiser", "decoder"
Tensors = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]


def residual_contract(channels: int, cell_px: int) -> dict[str, Tensors]:
    """Inputs and outputs of the networks of kind ``residual``: diffusion of what the weight-free picture lacks.

    N pictures, B runs, T frames of a window, h and w latent cells, all of them free.

    Args:
        channels: C, of the latents.
        cell_px: width and height of a latent cell in px, even.
    """
    half = cell_px // 2

    def tensor(name: str, *shape: Dimension) -> TensorSpec:
        return TensorSpec(name, "float32", shape)

    size = "N", PLANES, f"{half}*h", f"{half}*w"
    planes = tensor("planes", *size)
    latents = tensor("latents", "N", channels, "h", "w")
    grain = tensor("grain", "N", GRAIN, f"{half}*h", f"{half}*w")
    moving = "B", channels, "T", "h", "w"
    conditions = (
        tensor("base", *moving),
        tensor("keys", "B", 2 * channels, "T", "h", "w"),
        tensor("hints", "B", HINTS, "T", "h", "w"),
    )
    return {
        ENCODER: ((planes,), (latents,)),
        DENOISER: ((tensor("x", *moving), tensor("t", "B"), *conditions), (tensor("v", *moving),)),
        DECODER: ((latents, planes, grain), (tensor("pictures", *size),)),  # ONNX wants another name than the input's
    }
