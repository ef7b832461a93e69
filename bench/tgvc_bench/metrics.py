"""One call that scores a decoded clip against its source, over all frames, on luma.

========================  =============================================================  ======
key                       what, unit                                                     better
========================  =============================================================  ======
psnr_y                    mean over frames of the frame's PSNR, dB, capped at 100        larger
ms_ssim, haarpsi, vif     mean over frames, 0..1                                         larger
gmsd                      mean over frames                                               smaller
tof                       mean flow end-point error, px at half size                     smaller
flicker                   mean |dX_t - dY_t|, grey levels                                smaller
grad_energy               gradient energy of the test / of the reference                 near 1
swd                       relative sliced Wasserstein distance of Laplacian patches      smaller
========================  =============================================================  ======
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tgvc.errors import ConfigError
from tgvc.types import FloatArray, Picture, Plane, picture_planes
from tgvc_bench import change, fidelity, realism

Series: TypeAlias = npt.NDArray[np.float64]  # (N,), one value per frame

FIDELITY: dict[str, Callable[[FloatArray, FloatArray], float]] = {
    "psnr_y": fidelity.psnr,
    "ms_ssim": fidelity.ms_ssim,
    "gmsd": fidelity.gmsd,
    "haarpsi": fidelity.haarpsi,
    "vif": fidelity.vif,
}
SMALLER_IS_BETTER = frozenset({"gmsd", "tof", "flicker", "swd"})


class Reference:
    """A source clip with what the scores need of it, computed once and kept for every later test.

    ``pictures``: I420 uint8 (3H/2, W), all of one size; ``flows``: N - 1 flows; ``spectra``: N patch spectra.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        if not pictures:
            raise ConfigError("score: got a reference of 0 frames, expected at least 1")
        self.pictures = list(pictures)
        self.luma: list[Plane] = [picture_planes(p)[0] for p in self.pictures]
        self.flows = [change.estimate_flow(a, b) for a, b in zip(self.luma, self.luma[1:], strict=False)]
        self.spectra = [realism.patch_spectrum(y.astype(np.float32)) for y in self.luma]
        self.energy = [realism.gradient_energy(y.astype(np.float32)) for y in self.luma]


def score(
    reference: Reference | Sequence[Picture], test: Sequence[Picture], keys: Sequence[str] | None = None
) -> dict[str, float]:
    """Scores of a clip: the mean over all frames of each key of the table above.

    ``grad_energy`` is the ratio of the clips' total energies. A clip of one frame has no change: tof = flicker = 0.

    Args:
        reference: The source, pictures uint8 (3H/2, W), or a ``Reference`` made before.
        test: As many pictures of the same size.
        keys: The fidelity keys that are wanted, and only these; None = every key.

    Raises:
        ConfigError: Counts or sizes differ, or an unknown key.
    """
    source = reference if isinstance(reference, Reference) else Reference(reference)
    if keys is not None:
        return {k: float(v.mean()) for k, v in _score_fidelity(source.pictures, test, keys).items()}
    return mean_scores(source, score_frames(source, test))


def mean_scores(reference: Reference, frames: Mapping[str, Series]) -> dict[str, float]:
    """The scores of a clip of those of its frames, as `score_frames` gives them."""
    result = {k: float(np.nanmean(v)) if np.any(np.isfinite(v)) else 0.0 for k, v in frames.items()}
    total = sum(reference.energy)
    result["grad_energy"] = float(np.dot(frames["grad_energy"], reference.energy) / total) if total else 1.0
    return result


def score_frames(reference: Reference | Sequence[Picture], test: Sequence[Picture]) -> dict[str, Series]:
    """The same per frame: float64 (N,) per key; ``tof`` and ``flicker`` of frame 0 are NaN (no frame before it)."""
    source = reference if isinstance(reference, Reference) else Reference(reference)
    result = _score_fidelity(source.pictures, test, list(FIDELITY))
    count = len(source.pictures)
    for key in ("tof", "flicker", "grad_energy", "swd"):
        result[key] = np.full(count, np.nan)
    luma = [picture_planes(p)[0] for p in test]
    before = None
    for t in range(count):
        x, y = source.luma[t].astype(np.float32), luma[t].astype(np.float32)
        energy = realism.gradient_energy(y)
        result["grad_energy"][t] = energy / source.energy[t] if source.energy[t] else 1.0
        result["swd"][t] = realism.wasserstein(source.spectra[t], realism.patch_spectrum(y))
        if before is not None:
            result["flicker"][t] = change.flicker((before[0], x), (before[1], y))
            flow = change.estimate_flow(luma[t - 1], luma[t])
            result["tof"][t] = change.flow_error(source.flows[t - 1], flow)
        before = (x, y)
    return result


def _score_fidelity(pictures: Sequence[Picture], test: Sequence[Picture], keys: Sequence[str]) -> dict[str, Series]:
    """Frame-wise fidelity scores of the keys, float64 (N,) each."""
    if unknown := [k for k in keys if k not in FIDELITY]:
        raise ConfigError(f"score: unknown key {unknown[0]!r}, expected some of {', '.join(FIDELITY)}")
    if len(pictures) != len(test):
        raise ConfigError(f"score: {len(test)} test frames for {len(pictures)} reference frames, expected as many")
    result = {k: np.empty(len(pictures)) for k in keys}
    for t, (a, b) in enumerate(zip(pictures, test, strict=True)):
        if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
            got = f"frame {t} is {b.dtype} {b.shape}, the reference {a.dtype} {a.shape}"
            raise ConfigError(f"score: {got}; expected uint8 of equal shape")
        x, y = picture_planes(a)[0].astype(np.float32), picture_planes(b)[0].astype(np.float32)
        for key in keys:
            result[key][t] = FIDELITY[key](x, y)
    return result
