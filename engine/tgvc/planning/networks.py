"""The networks that profile ``tgvc`` may look and track with, from the bundles that a user names."""

from __future__ import annotations

from tgvc.analysis.clip_embedding import ClipEmbedder
from tgvc.analysis.cotracker import NetworkTracker
from tgvc.backends.base import AUTO, Backend, load_backend
from tgvc.config import EncoderConfig
from tgvc.models.bundle import load_bundle
from tgvc.models.interpolation import InterpolationNetworks
from tgvc.models.tracker import TrackerNetworks


def load_embedder(config: EncoderConfig, matrix: int, threads: int) -> ClipEmbedder | None:
    """What ``config.embedder`` names; None if it names nothing.

    Args:
        config: of the encoder.
        matrix: colour matrix code of the video, ISO/IEC 23091-2.
        threads: of the CPU, for one network.

    Raises:
        BundleError: no bundle, or one of another kind.
        BackendError: the backend does not run here.
    """
    if config.embedder is None:
        return None
    nets = InterpolationNetworks(load_bundle(config.embedder), _backend(config, threads))
    return ClipEmbedder(nets, matrix, config.parity == "reference")


def load_tracker(config: EncoderConfig, threads: int) -> NetworkTracker | None:
    """What ``config.tracker`` names; None if it names nothing. Errors are those of `load_embedder`."""
    if config.tracker is None:
        return None
    nets = TrackerNetworks(load_bundle(config.tracker), _backend(config, threads))
    return NetworkTracker(nets, parity="reference" if config.parity == "reference" else "corrected")


def _backend(config: EncoderConfig, threads: int) -> Backend:
    return load_backend(config.backend or AUTO, threads=threads)
