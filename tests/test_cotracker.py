"""The torch twins of the trackers."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from golden import FOLDER  # noqa: E402
from tgvc_export.cotracker.tracker import CoTracker3  # noqa: E402
from tgvc_export.cotracker.tracker2 import CoTracker2  # noqa: E402

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
