"""All metrics with weights behind one door: loaded once, then asked clip by clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tgvc.analysis.clip_embedding import ClipEmbedder
from tgvc.models.rgb import to_levels
from tgvc.types import FloatArray, Picture
from tgvc_bench.neural.inception import Inception
from tgvc_bench.neural.perceptual import ALEXNET, VGG16, Dists, Lpips, Trunk
from tgvc_bench.neural.weights import WeightFile, import_torch, read_tensors, require_weights

_BATCH = 4  # frames at once: VGG16 at 512x320 takes 40 MB per frame


class NeuralPanel:
    """The networks of some metrics.

    Args:
        metrics: keys of `tgvc_bench.neural.weights.NEEDED`.
        weights: files that the user names.

    Raises:
        ConfigError: a metric lacks its weights.
        BundleError: a file is not what it should be.
        BackendUnavailableError: torch is not installed.
    """

    def __init__(self, metrics: Sequence[str], weights: Sequence[WeightFile]) -> None:
        self.metrics = tuple(metrics)
        files = require_weights(self.metrics, weights)
        tensors = {kind: read_tensors(file) for kind, file in files.items() if kind != "clip"}
        self.distances: dict[str, Lpips | Dists] = {}
        if "lpips-alex" in tensors:
            alexnet = Trunk(tensors["alexnet"], ALEXNET, "alexnet")
            self.distances["lpips"] = Lpips(alexnet, tensors["lpips-alex"], "lpips-alex")
        if "lpips-vgg" in tensors:
            self.distances["lpips_vgg"] = Lpips(
                Trunk(tensors["vgg16"], VGG16, "vgg16"), tensors["lpips-vgg"], "lpips-vgg"
            )
        if "dists" in tensors:
            self.distances["dists"] = Dists(Trunk(tensors["vgg16"], VGG16, "vgg16", smooth=True), tensors["dists"])
        self.inception = Inception(tensors["inception"]) if "inception" in tensors else None
        self.clip = files.get("clip")
        if self.clip is not None:
            self.clip.check()

    def read(self, pictures: Sequence[Picture], matrix: int) -> NeuralClip:
        """What the metrics need of a source, computed once for all its outputs."""
        return NeuralClip(self, pictures, matrix)

    def embedder(self, matrix: int) -> ClipEmbedder | None:
        """The CLIP tower that the user names, for pictures of a colour matrix."""
        if self.clip is None:
            return None
        from tgvc.backends.base import AUTO, load_backend
        from tgvc.models.bundle import load_bundle
        from tgvc.models.interpolation import InterpolationNetworks

        bundle = load_bundle(str(self.clip.path.parent))
        return ClipEmbedder(InterpolationNetworks(bundle, load_backend(AUTO, threads=1)), matrix)


class NeuralClip:
    """Scores outputs of one clip with networks."""

    def __init__(self, panel: NeuralPanel, pictures: Sequence[Picture], matrix: int) -> None:
        self._panel, self._pictures, self._matrix = panel, pictures, matrix
        self._embedder = panel.embedder(matrix)
        self._embedding = self._embedder.embed(pictures) if self._embedder else None
        self.features = self._features(pictures)
        self._changes = self._measure_changes(pictures) if "tlpips" in panel.metrics else None

    def score(self, test: Sequence[Picture]) -> tuple[dict[str, float], FloatArray | None]:
        """Means over all frames, and the features (N, 2048) of all frames where FID or KID are wanted."""
        found = {name: self._mean(name, test) for name in self._panel.distances if name in self._panel.metrics}
        if self._changes is not None:
            changes = self._measure_changes(test)
            found["tlpips"] = float(np.abs(changes - self._changes).mean()) if len(changes) else 0.0
        if self._embedder is not None and self._embedding is not None:
            found["clip_sim"] = float(np.sum(self._embedder.embed(test) * self._embedding, axis=1).mean())
        return found, self._features(test)

    def _mean(self, name: str, test: Sequence[Picture]) -> float:
        metric, values = self._panel.distances[name], list[float]()
        with import_torch().inference_mode():
            for a, b in zip(self._batches(self._pictures), self._batches(test), strict=True):
                values += metric.between(metric.describe(a), metric.describe(b)).tolist()
        return float(np.mean(values))

    def _measure_changes(self, pictures: Sequence[Picture]) -> FloatArray:
        """LPIPS from every frame to the next, (N - 1,)."""
        metric, values, before = self._panel.distances["lpips"], list[float](), None
        with import_torch().inference_mode():
            for picture in pictures:
                current = metric.describe(self._tensor([picture]))
                if before is not None:
                    values += metric.between(before, current).tolist()
                before = current
        return np.array(values, np.float32)

    def _features(self, pictures: Sequence[Picture]) -> FloatArray | None:
        if self._panel.inception is None:
            return None
        with import_torch().inference_mode():
            parts = [self._panel.inception.features(batch).numpy() for batch in self._batches(pictures)]
        return np.concatenate(parts).astype(np.float32)

    def _batches(self, pictures: Sequence[Picture]) -> Iterator[Any]:
        for first in range(0, len(pictures), _BATCH):
            yield self._tensor(pictures[first : first + _BATCH])

    def _tensor(self, pictures: Sequence[Picture]) -> Any:
        """Pictures as float32 (N, 3, H, W), RGB in 0..1, in the 256 levels of a picture file."""
        levels = to_levels(pictures, self._matrix).transpose(0, 3, 1, 2).astype(np.float32)
        return import_torch().from_numpy(np.ascontiguousarray(levels / np.float32(255)))
