"""Small clips and quick systems for tests of a whole evaluation."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any

from conftest import _picture
from tgvc.video import VideoWriter
from tgvc_bench.evaluation.plan import Question
from tgvc_bench.evaluation.systems import System, choose_systems
from video_samples import info_of

FRAMES, SIZE, RATES = 6, (176, 176), (0.03, 0.06)
ONLY = ("psnr_y", "ms_ssim")
QUICK = choose_systems(["quick=effort=0,spacing=5,modes=H"])[0]
ANCHOR = choose_systems(["svt-av1-p4"])[0]


def write_clip(path: Path, seed: int, size: tuple[int, int] = SIZE, fps: int = 25) -> None:
    """A textured scene that drifts by a pixel per frame, stored without loss."""
    with VideoWriter(path, info_of(*size, fps=Fraction(fps)), codec="ffv1") as writer:
        for t in range(FRAMES):
            writer.write(_picture(float(t), 0, size, seed))


def ask(folder: Path, *systems: System, **fields: Any) -> Question:
    """A question about all clips of a folder."""
    clips = tuple(sorted(folder.iterdir()))
    asked = Question(clips, systems, RATES, FRAMES, metrics=ONLY, previews=(RATES[0],), sizes=(Fraction(1),))
    return dataclasses.replace(asked, **fields)
