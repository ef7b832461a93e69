"""MTTF as the networks of a bundle: what is done once per key picture, and what for every frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgvc_export.mttf.config import MttfConfig
from tgvc_export.mttf.generator import Generator, KeyEncoder
from tgvc_export.mttf.grids import shrink
from tgvc_export.mttf.motion import MotionNetwork
from tgvc_export.mttf.predictor import Gdn, RegionPredictor


class Mttf(nn.Module):
    """All of it; pictures are (N, colours, s h, s w) as its `MttfConfig` says."""

    def __init__(self, config: MttfConfig) -> None:
        super().__init__()
        self.config = config
        self.predictor = RegionPredictor(config)
        self.motion = MotionNetwork(config)
        self.key = KeyEncoder(config)
        self.generator = Generator(config)

    def small(self, picture: Tensor, path: int = 0) -> Tensor:
        """A picture at the size of the cells, (N, 3, h, w): colours, or luma and both chromas of planes."""
        if self.config.planes:
            picture = torch.cat([picture[:, :4].mean(dim=1, keepdim=True), picture[:, 4:]], dim=1)
        return shrink(picture, self.config.scale(path), exact=self.config.exact)

    def clamp(self) -> None:
        """Keep the parameters where the networks are defined; to be called after every step of training."""
        for part in self.modules():
            if isinstance(part, Gdn):
                part.clamp()


class PredictorNetwork(nn.Module):
    """A picture (N, colours, s h, s w) to features (N, C, h, w) and state (N, 2C)."""

    def __init__(self, mttf: Mttf, path: int = 0) -> None:
        super().__init__()
        self.mttf, self.path = mttf, path

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        features, state = self.mttf.predictor(self.mttf.small(picture, self.path))
        return features, state


class MeasuredNetwork(nn.Module):
    """A key picture (1, colours, s h, s w) and the motion of frames from it to features (1, C, h, w) and states."""

    def __init__(self, mttf: Mttf, path: int = 0) -> None:
        super().__init__()
        self.mttf, self.path = mttf, path

    def forward(self, picture: Tensor, motion: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
        """See the class, and `tgvc_export.mttf.predictor.Regions`; states are (N, 2C)."""
        features, state = self.mttf.predictor(self.mttf.small(picture, self.path), motion, trust)
        return features, state


class KeyNetwork(nn.Module):
    """A key picture (N, colours, s h, s w) to the generator's features of it, from full size to the bottleneck."""

    def __init__(self, mttf: Mttf, path: int = 0) -> None:
        super().__init__()
        self.key, self.path = mttf.key, path

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return tuple(self.key(picture, self.path))


class FrameNetwork(nn.Module):
    """Everything of one key picture, its state, and the states (N, 2C) of frames, to the frames."""

    def __init__(self, mttf: Mttf, path: int = 0) -> None:
        super().__init__()
        self.mttf, self.path = mttf, path

    def forward(
        self,
        picture: Tensor,
        features: Tensor,
        source: Tensor,
        driving: Tensor,
        skip0: Tensor,
        skip1: Tensor,
        skip2: Tensor | None = None,
        skip3: Tensor | None = None,
    ) -> Tensor:
        """Frames.

        Args:
            picture: (1, colours, s h, s w), the key picture.
            features: (1, C, h, w), the predictor's of it.
            source: (1, 2C), its state.
            driving: (N, 2C), states of the frames.
            skip0: as `KeyNetwork` gives them, like the others.
            skip1: the next.
            skip2: the next, with two halvings or more.
            skip3: the next, with three.

        Returns:
            (N, colours, s h, s w).
        """
        n = driving.shape[0]
        kept = [skip for skip in (skip0, skip1, skip2, skip3) if skip is not None]
        picture, features, source, *skips = (x.expand(n, *x.shape[1:]) for x in (picture, features, source, *kept))
        small = self.mttf.small(picture, self.path)
        front, behind, seen, _, _ = self.mttf.motion(features, source, driving, small)
        return self.mttf.generator(picture, skips, small, (front, behind), seen, self.path)[0]
