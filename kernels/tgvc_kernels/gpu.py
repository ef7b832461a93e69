"""The kernels on an NVIDIA GPU: same names and arguments as the twins, then ``stream`` and ``out``.

Arrays of CuPy, torch, numba.cuda, PyCUDA and others go in as they are (DLPack, ``__cuda_array_interface__``). The
stream is always an argument: a call queues its work there and returns. ``out`` is an array to write to; without it a
CuPy array is made. Kernels are compiled at first use through NVRTC and kept on disk. Contracts: docs/kernels.md.
"""

from __future__ import annotations

from tgvc_kernels.device.field_kernels import (
    blend_weights,
    densify,
    mix,
    project,
    sample_field,
    shift,
    splat,
    warp,
)
from tgvc_kernels.device.latent_kernels import (
    DevicePlan,
    guidance_gradient,
    guidance_plan,
    normal_noise,
    upload_plan,
)
from tgvc_kernels.device.picture_kernels import pack_planes, rgb_to_yuv, unpack_planes, yuv_to_rgb
from tgvc_kernels.device.step_kernels import guided_step, predict_clean, sampler_step

__all__ = [
    "DevicePlan",
    "blend_weights",
    "densify",
    "guidance_gradient",
    "guidance_plan",
    "guided_step",
    "mix",
    "normal_noise",
    "pack_planes",
    "predict_clean",
    "project",
    "rgb_to_yuv",
    "sample_field",
    "sampler_step",
    "shift",
    "splat",
    "unpack_planes",
    "upload_plan",
    "warp",
    "yuv_to_rgb",
]
