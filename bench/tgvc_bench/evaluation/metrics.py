"""The metrics of a record: what they are called, which way is better, what they are about."""

from __future__ import annotations

from typing import Any

_ROWS = (
    # key, title, better, unit, of
    ("psnr_y", "PSNR, luma", "higher", "dB", "fidelity"),
    ("ms_ssim", "MS-SSIM", "higher", "", "fidelity"),
    ("gmsd", "GMSD", "lower", "", "fidelity"),
    ("haarpsi", "HaarPSI", "higher", "", "fidelity"),
    ("vif", "VIF", "higher", "", "fidelity"),
    ("vmaf", "VMAF", "higher", "", "fidelity"),
    ("vmaf_neg", "VMAF NEG", "higher", "", "fidelity"),
    ("lpips", "LPIPS, AlexNet", "lower", "", "fidelity"),
    ("lpips_vgg", "LPIPS, VGG16", "lower", "", "fidelity"),
    ("dists", "DISTS", "lower", "", "fidelity"),
    ("clip_sim", "CLIP similarity", "higher", "", "fidelity"),
    ("swd", "Distance of Laplacian patches", "lower", "", "realism"),
    ("grad_gap", "Gradient energy, distance from the source's", "lower", "of the source's", "realism"),
    ("fid", "FID of all frames", "lower", "", "realism"),
    ("kid", "KID of all frames", "lower", "", "realism"),
    ("tof", "Optical flow error at half size", "lower", "px", "motion"),
    ("track_error", "Track error: points followed again", "lower", "px", "motion"),
    ("flicker", "Flicker", "lower", "grey levels", "flicker"),
    ("tlpips", "tLPIPS, AlexNet", "lower", "", "flicker"),
)
METRICS: dict[str, dict[str, Any]] = {
    key: {"title": title, "better": better, "unit": unit, "of": of} for key, title, better, unit, of in _ROWS
}
WITHOUT_WEIGHTS = (
    "psnr_y", "ms_ssim", "gmsd", "haarpsi", "vif", "vmaf", "vmaf_neg",
    "swd", "grad_gap", "tof", "track_error", "flicker",
)  # fmt: skip
WITH_WEIGHTS = tuple(key for key in METRICS if key not in WITHOUT_WEIGHTS)
SETS = ("fid", "kid")  # of all frames of all clips together, so no entry has them
PER_FRAME = ("psnr_y", "ms_ssim")  # whose frames are kept in a record
