"""Measuring generators: points that are tracked again, tables of means."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.paths import Paths
from tgvc.types import Picture, join_planes, still_motion
from tgvc_bench import following
from tgvc_bench.following import follow_error, format_following, segment_paths, usual_variants
from tgvc_bench.generators import Variant, format_generators
from tgvc_bench.generators import usual_variants as decoders

W, H = 192, 128


def moving_picture(shift: float) -> Picture:
    """Texture that has moved to the right by ``shift`` px."""
    noise = np.random.default_rng(3).integers(40, 215, (H // 4, W // 4 + 40), np.uint8)
    wide = cv2.resize(noise, (W + 160, H), interpolation=cv2.INTER_CUBIC)
    luma = cv2.warpAffine(wide, np.array([[1, 0, shift - 80], [0, 1, 0]], np.float64), (W, H), flags=cv2.INTER_CUBIC)
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    return join_planes(np.asarray(luma, np.uint8), grey, grey)


def straight_paths(speed: float, frames: int) -> Paths:
    start = np.array([[60, 40], [90, 64], [100, 90]], np.float32)
    steps = np.arange(frames, dtype=np.float32)[None, :, None] * np.array([speed, 0], np.float32)
    return Paths(start[:, None] + steps, np.ones((3, frames), np.bool_))


@pytest.mark.parametrize("speed", [0.0, 2.0])
def test_a_point_that_moves_as_it_should_has_no_error(speed: float) -> None:
    pictures = [moving_picture(speed * n) for n in range(6)]
    total, seen = follow_error(pictures, straight_paths(speed, 6))
    assert seen == 3 * 4
    assert total / seen < 0.25  # px: what optical flow gets wrong over four frames


def test_a_point_that_stays_behind_has_the_distance_as_its_error() -> None:
    pictures = [moving_picture(0) for _ in range(6)]
    total, seen = follow_error(pictures, straight_paths(2.0, 6))
    assert total / seen == pytest.approx(2 * np.mean([1, 2, 3, 4]), abs=0.25)


def test_hidden_points_do_not_count() -> None:
    paths = straight_paths(2.0, 6)
    hidden = Paths(paths.xy, np.zeros_like(paths.visible))
    assert follow_error([moving_picture(0)] * 6, hidden) == (0.0, 0)


def test_paths_of_a_group_start_at_the_key_of_their_segment() -> None:
    keys = [moving_picture(3 * n) for n in range(3)]
    group = DecodedGroup(0, 1, keys, [(still_motion("F"), 5), (still_motion("F"), 3)], 0.4)
    found = list(segment_paths(group))
    assert [first for first, _ in found] == [0, 4]
    assert [paths.xy.shape[1] for _, paths in found] == [5, 3]
    moved = found[0][1].xy[:, -1] - found[0][1].xy[:, 0]
    inside = found[0][1].visible.all(axis=1)
    assert np.median(moved[inside, 0]) == pytest.approx(3, abs=0.3)


def test_guidance_is_measured_off_and_on_over_both_bases() -> None:
    variants = usual_variants((1, 4), 2.0)
    assert {(v.base, v.steps, v.guidance) for v in variants.values() if v.generator == "latent"} == {
        (base, steps, guidance) for base in ("faded", "moved") for steps, guidance in ((1, None), (4, None), (4, 2.0))
    }


def test_an_interrupted_measurement_of_following_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, int]] = []

    def measure(path: Path, spacing: int, variants: object) -> dict[str, float]:
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append((path.stem, spacing))
        return {"warp": float(spacing)}

    monkeypatch.setattr(following, "measure_clip", measure)
    clips, record = [Path("a.mp4"), Path("b.mp4")], tmp_path / "following.json"
    with pytest.raises(KeyboardInterrupt):
        list(following.run_following(clips, record))
    monkeypatch.setattr(following, "measure_clip", lambda *_: {"warp": 0.5})
    errors = {(e["clip"], e["spacing"]): e["errors_px"]["warp"] for e in following.run_following(clips, record)}
    assert errors == {("a", 16): 16, ("b", 16): 16, ("a", 30): 30, ("b", 30): 0.5}
    again = [e["errors_px"]["warp"] for e in following.run_following(clips, record, (16,), strength=0.25)]
    assert again == [0.5, 0.5], "another strength is another measurement"
    kept = json.loads(record.read_text())["entries"]
    assert [(e["clip"], e["spacing"]) for e in kept] == [("a", 16), ("b", 16), ("a", 30), ("b", 30)]


def test_tables_hold_every_variant_with_its_means() -> None:
    keys = ("psnr_y", "ms_ssim", "gmsd", "haarpsi", "vif", "vmaf", "tof", "flicker", "vmaf_neg", "grad_energy", "swd")
    entries = [
        {
            "rate": 0.005,
            "variants": {v.name: {"won": n, "scores": dict.fromkeys(keys, float(n))} for v in decoders((2,))},
        }
        for n in (1, 3)
    ]
    table = format_generators({"entries": entries})
    assert table.count("| 2.0 | 2 |") == len(decoders((2,)))
    errors = [{"clip": c, "spacing": 16, "errors_px": {"warp": e}} for c, e in (("a", 1.0), ("b", 2.0))]
    assert "| warp | 1.00 | 2.00 | 1.50 |" in format_following({"entries": errors})


def test_scores_are_kept_until_the_networks_of_a_variant_change(tmp_path: Path) -> None:
    painted = Variant("latent", {"generator": "latent", "bundle": str(tmp_path)})
    codes = []
    for text in ("{}", '{"revision": 2}'):
        (tmp_path / "manifest.json").write_text(text)
        codes.append((painted.code, Variant("warp", {"generator": "warp"}).code))
    assert codes[0][0] != codes[1][0]
    assert codes[0][1] == codes[1][1]
