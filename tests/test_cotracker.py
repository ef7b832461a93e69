"""The torch twins of the trackers."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")

from golden import FOLDER  # noqa: E402
from golden_cotracker import TorchCalls  # noqa: E402
from tgvc.analysis import cotracker_sampling  # noqa: E402
from tgvc.analysis.cotracker_clip import TrackedClip  # noqa: E402
from tgvc_export.cotracker.sampling import sample_support, sine_table, stretch_table  # noqa: E402
from tgvc_export.cotracker.tracker import CoTracker3  # noqa: E402
from tgvc_export.cotracker.tracker2 import CoTracker2  # noqa: E402
from tracker_samples import make_pictures, make_tracker  # noqa: E402

KEYS = FOLDER / "keys"
TRACKERS = {
    "cotracker3_offline": lambda: CoTracker3(60),
    "cotracker3_online": lambda: CoTracker3(16, sliding=True),
    "cotracker2": lambda: CoTracker2(8),
    "cotracker2v1": lambda: CoTracker2(16),
}


@pytest.mark.parametrize("name", TRACKERS)
def test_names_and_shapes_are_those_of_the_published_checkpoints(name: str) -> None:
    path = KEYS / f"{name}.keys.json"
    if not path.exists():
        pytest.skip(f"no {path}: set TGVC_GOLDEN")
    want = json.loads(path.read_text())
    with torch.device("meta"):
        tracker = TRACKERS[name]()
    assert {key: list(value.shape) for key, value in tracker.state_dict().items()} == want["shapes"]
    assert sorted(key for key, _ in tracker.named_buffers()) == sorted(want["buffers"])
    assert sum(value.numel() for value in tracker.parameters()) == want["n_parameters"]


@pytest.fixture(scope="module")
def tracker() -> CoTracker3:
    return make_tracker()


@pytest.mark.parametrize(("sliding", "length"), [(False, 10), (True, 9), (True, 21), (True, 32)])
def test_the_runtime_follows_points_as_torch_does(sliding: bool, length: int) -> None:
    tracker = make_tracker(sliding=sliding)
    pictures, random = make_pictures(length), np.random.default_rng(length)
    asked = np.stack([random.integers(0, length, 7), random.uniform(0, 127, 7), random.uniform(0, 95, 7)], axis=1)
    queries = asked.astype(np.float32)
    video = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    clip = TrackedClip(TorchCalls(tracker, iterations=3), pictures)
    for backwards in (False, True):
        with torch.no_grad():
            want = tracker(video.flip(0)[None] if backwards else video[None], torch.from_numpy(queries)[None], 3)
        got = clip.follow(queries, backwards=backwards)
        # px and probabilities; float32 of numbers up to 128, summed in another order
        for name, mine, theirs, limit in zip("pvc", got, want, (2e-4, 1e-5, 1e-5), strict=True):
            np.testing.assert_allclose(mine, theirs[0].numpy(), atol=limit, err_msg=name)


def test_times_and_patches_are_those_of_torch(tracker: CoTracker3) -> None:
    random = torch.Generator().manual_seed(1)
    level = torch.randn(3, 4, 6, 9, generator=random)
    points = torch.rand(20, 2, generator=random) * 14 - 2  # some outside
    frames = torch.randint(3, (20,), generator=random)
    want = sample_support(level, frames, points, 3).numpy()
    got = cotracker_sampling.cut_patches(level.numpy(), frames.numpy(), points.numpy(), 3)
    np.testing.assert_allclose(got, want, atol=1e-5)
    for length in (1, 7, 16, 60, 75):
        want = stretch_table(sine_table(60, 22), length).numpy()
        got = cotracker_sampling.stretch_table(cotracker_sampling.sine_table(60, 22), length)
        np.testing.assert_allclose(got, want, atol=1e-5)  # float32 places of up to 60 in a table of slope 1


def test_the_published_fault_of_short_clips_is_that_of_torch(tracker: CoTracker3) -> None:
    pictures, queries = make_pictures(8), np.array([[2, 30, 40]], np.float32)
    got = TrackedClip(TorchCalls(tracker), pictures, "reference").follow(queries)
    video = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()[None]
    with torch.no_grad():
        want = tracker(video, torch.from_numpy(queries)[None])
    assert all(np.array_equal(mine, theirs[0].numpy()) for mine, theirs in zip(got, want, strict=True))
