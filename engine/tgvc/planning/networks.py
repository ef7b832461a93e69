"""The networks that profiles ``tgvc``, ``actdiff`` and ``human`` look with, from the bundles that a user names."""

from __future__ import annotations

from tgvc.analysis.clip_embedding import ClipEmbedder
from tgvc.analysis.cotracker import NetworkTracker
from tgvc.analysis.cotracker_clip import MOST_SAMPLES
from tgvc.backends.base import AUTO, Backend, load_backend
from tgvc.backends.places import HOST
from tgvc.config import HUMAN_BUNDLE, EncoderConfig
from tgvc.models.bundle import ModelBundle, load_bundle
from tgvc.models.constants import TRACKER
from tgvc.models.footprint import check_fit, looking_footprint, tracking_footprint
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
        ConfigError: the networks will not find memory enough.
    """
    if config.embedder is None:
        return None
    bundle, backend = load_bundle(config.embedder), _backend(config, threads)
    nets = InterpolationNetworks(bundle, backend)
    check_fit(looking_footprint(bundle, on_device=backend.device != HOST), ignore=config.ignore_memory)
    return ClipEmbedder(nets, matrix, config.parity == "reference")


def load_tracker(config: EncoderConfig, threads: int) -> NetworkTracker | None:
    """What ``config.tracker`` names; None if it names nothing. Errors are those of `load_embedder`."""
    if config.tracker is None:
        return None
    bundle, backend = load_bundle(config.tracker), _backend(config, threads)
    if bundle.kind == TRACKER:
        footprint = tracking_footprint(bundle, MOST_SAMPLES, on_device=backend.device != HOST)
        check_fit(footprint, ignore=config.ignore_memory)
    nets = TrackerNetworks(bundle, backend)
    return NetworkTracker(nets, parity="reference" if config.parity == "reference" else "corrected")


def load_people(config: EncoderConfig, threads: int) -> tuple[ModelBundle, Backend]:
    """The bundle of kind ``human`` that ``config.bundle`` names, the embedded one if none, and what runs it.

    Raises:
        BundleError: no bundle. BackendError: the backend does not run here.
    """
    return load_bundle(HUMAN_BUNDLE if config.bundle is None else config.bundle), _backend(config, threads)


def _backend(config: EncoderConfig, threads: int) -> Backend:
    return load_backend(config.backend or AUTO, threads=threads)
