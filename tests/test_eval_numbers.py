"""The arithmetic of an evaluation: BD-rates, intervals, tracks, sizes, systems, what a cache may keep."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tgvc.config import PROFILES, DecoderConfig, EncoderConfig
from tgvc.errors import ConfigError
from tgvc.types import picture_planes
from tgvc_bench.evaluation import conventional, motion, systems
from tgvc_bench.evaluation.bdrate import bd_rate, find_front, mean_with_interval, summarise
from tgvc_bench.evaluation.code import PLANNERS, hash_ours, strip_code
from tgvc_bench.evaluation.plan import Question, entry_key, stream_key
from tgvc_bench.evaluation.sources import find_clips
from tgvc_bench.evaluation.tables import BEGIN, END, replace_block
from tgvc_bench.units import BPP

pytest.importorskip("scipy", reason="BD-rates need SciPy (extra `eval`)")

RATES = (0.002, 0.003, 0.005, 0.0075, 0.01)
Curve = list[tuple[float, float]]


def bent(rates: Sequence[float] = RATES, scale: float = 1.0) -> Curve:
    """A curve of falling slope, as codecs have; ``scale``: the same values at so many times the rate."""
    return [(scale * r, 20 + 6 * math.log2(r / 0.001) - 0.4 * math.log2(r / 0.001) ** 2) for r in rates]


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.3])
def test_the_same_values_at_another_rate_are_that_much_cheaper(scale: float) -> None:
    # every knot moves by the same logarithm, so the cubic does too: only rounding is left
    assert bd_rate(bent(), bent(scale=scale), "higher") == pytest.approx(100 * (scale - 1), abs=1e-9)


def test_where_less_is_better_the_sign_is_the_same() -> None:
    loss = [(r, 1 - v / 100) for r, v in bent()]
    cheaper = [(0.75 * r, 1 - v / 100) for r, v in bent()]
    assert bd_rate(loss, cheaper, "lower") == pytest.approx(-25)
    assert bd_rate(cheaper, loss, "lower") == pytest.approx(100 / 3)


def hermite(knots: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The monotone cubic by its definition: slopes are weighted harmonic means of the neighbouring differences."""
    width = np.diff(knots)
    rise = np.diff(values) / width
    slopes = np.zeros(len(knots))
    for n in range(1, len(knots) - 1):
        w0, w1 = 2 * width[n] + width[n - 1], width[n] + 2 * width[n - 1]
        slopes[n] = (w0 + w1) / (w0 / rise[n - 1] + w1 / rise[n])
    for end, a, b in ((0, 0, 1), (-1, -1, -2)):
        slope = ((2 * width[a] + width[b]) * rise[a] - width[a] * rise[b]) / (width[a] + width[b])
        slopes[end] = 0 if slope * rise[a] < 0 else min(slope, 3 * rise[a], key=abs)
    i = np.clip(np.searchsorted(knots, at) - 1, 0, len(knots) - 2)
    t, h = (at - knots[i]) / width[i], width[i]
    return np.asarray(
        values[i] * (1 + 2 * t) * (1 - t) ** 2
        + values[i + 1] * t**2 * (3 - 2 * t)
        + h * slopes[i] * t * (1 - t) ** 2
        - h * slopes[i + 1] * t**2 * (1 - t)
    )


def test_the_integral_is_that_of_the_monotone_cubic_over_the_common_values() -> None:
    anchor, test = bent(), [(0.0018, 24.9), (0.0031, 29.0), (0.0049, 31.0), (0.0081, 35.0)]
    low, high = max(anchor[0][1], 24.9), min(anchor[-1][1], 35.0)
    at = np.linspace(low, high, 20001)
    logs = [
        hermite(np.array([v for _, v in c]), np.log10([r for r, _ in c]), at) for c in (anchor, test)
    ]  # trapezoids of 20000 parts leave 1e-8 of the integral
    difference = float(np.trapezoid(logs[1] - logs[0], at)) / (high - low)
    assert bd_rate(anchor, test, "higher") == pytest.approx(100 * (10**difference - 1), abs=1e-5)


def test_points_that_another_file_beats_do_not_count_and_order_does_not_matter() -> None:
    curve = bent()
    worse = [*curve, (0.004, 15.0), (0.02, curve[-1][1])]
    assert bd_rate(bent(scale=1.1), worse[::-1], "higher") == bd_rate(bent(scale=1.1), curve, "higher")
    assert len(find_front(worse, "higher")) == len(curve)


def test_curves_that_share_no_value_have_no_rate() -> None:
    higher = [(r, v + 100) for r, v in bent()]
    assert bd_rate(bent(), higher, "higher") is None
    assert bd_rate(bent(), bent()[:1], "higher") is None


def test_the_interval_holds_the_mean_is_the_same_again_and_narrows_with_clips() -> None:
    values = [-10.0, -20.0, -25.0, -5.0, 3.0, -12.0]
    mean, low, high = found = mean_with_interval(values)
    assert found == mean_with_interval(values)
    assert low < mean < high
    assert mean == pytest.approx(np.mean(values))
    # the standard error by theory; the percentile bootstrap of six values is narrower by sqrt(5/6), its noise 2 %
    error = np.std(values) / math.sqrt(len(values))
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    wide = mean_with_interval(values * 4)
    assert wide[2] - wide[1] == pytest.approx((high - low) / 2, rel=0.08)
    assert mean_with_interval([7.0]) == (7, 7, 7)
    with pytest.raises(ConfigError, match="got no value"):
        mean_with_interval([])


def test_systems_are_summarised_over_the_clips_that_have_a_value() -> None:
    above = [(r, v + 100) for r, v in bent()]
    curves = {
        "anchor": {"a": bent(), "b": bent(), "c": bent(), "e": bent()},
        "ours": {"a": bent(scale=0.5), "b": bent(scale=0.7), "c": above, "d": bent(), "e": bent(scale=0.6)},
        "once": {"b": bent(scale=0.9)},
        "never": {"a": above},
    }
    found = summarise(curves, "anchor", "higher")
    assert found["anchor"] == "anchor"
    assert "PCHIP" in found["method"]
    assert set(found["systems"]) == {"ours", "once"}
    once = found["systems"]["once"]
    assert (once["mean"], once["low"], once["high"]) == (pytest.approx(-10), None, None)
    ours = found["systems"]["ours"]
    near = {clip: pytest.approx(value) for clip, value in (("a", -50), ("b", -30), ("e", -40))}
    assert ours["clips"] == {**near, "c": None, "d": None}
    assert (ours["mean"], ours["count"]) == (pytest.approx(-40), 3)
    assert -50 <= ours["low"] <= -40 <= ours["high"] <= -30


def test_tracks_of_a_known_motion_are_found_and_wrong_motion_is_measured_in_px(make_clip) -> None:
    moving = [picture_planes(p)[0] for p in make_clip([(1.5 * t, 0) for t in range(9)])]
    still = [moving[0]] * 9
    tracks = motion.SourceTracks(moving)
    assert tracks.windows[0][2].visible[:, 0].sum() > 50
    # DIS finds smooth motion within a tenth of a pixel per step; twice the same flow gives the same path
    assert tracks.error(moving) == 0
    xy = tracks.windows[0][2].xy
    sure = tracks.windows[0][2].visible[:, -1]
    assert float(np.median(xy[sure, -1, 0] - xy[sure, 0, 0])) == pytest.approx(12, abs=0.5)
    # over 8 steps the still picture is 1.5 px behind after one, 12 px after the last: 6.75 on average, but points that
    # leave the picture stop counting early
    assert tracks.error(still) == pytest.approx(6.75, abs=0.7)
    half = [picture_planes(p)[0] for p in make_clip([(0.75 * t, 0) for t in range(9)])]
    assert tracks.error(half) == pytest.approx(6.75 / 2, abs=0.5)


def test_a_source_without_texture_has_no_track_error() -> None:
    flat = [np.full((64, 64), 90, np.uint8)] * 3
    assert motion.SourceTracks(flat).error(flat) is None


def point(size: str, bpp: float, psnr: float) -> dict[str, object]:
    return {"size": size, "bpp": bpp, "scores": {"psnr_y": psnr, "ms_ssim": 0.9}}


def test_the_best_size_changes_with_the_rate_and_the_cheapest_stands_in_below_all() -> None:
    small = [point("128x80", r, 24 + math.log2(r / 0.002)) for r in (0.002, 0.008)]
    large = [point("512x320", r, 25 + 2 * math.log2(r / 0.004)) for r in (0.003, 0.006)]
    chosen = {rate: conventional.choose_size([*small, *large], rate) for rate in (0.001, 0.0025, 0.0035, 0.0045, 0.02)}
    assert chosen == {
        0.001: (128, 80),
        0.0025: (128, 80),
        0.0035: (128, 80),
        0.0045: (512, 320),
        0.02: (512, 320),
    }
    with pytest.raises(ConfigError, match="no point"):
        conventional.choose_size([], 0.003)


class Trials:
    """A sweep whose encoder takes 64 bytes at its coarsest and twice as many every six steps finer."""

    def __init__(self) -> None:
        self.record: dict[str, dict[str, dict[str, dict[str, dict[str, int]]]]] = {
            "codecs": {"libaom-cpu4": {"trials": {"128x80": {"63": 64, "40": 800}}}}
        }

    def try_quality(self, codec: str, size: tuple[int, int], quality: float) -> int:
        known = self.record["codecs"][codec]["trials"][f"{size[0]}x{size[1]}"]
        return known.setdefault(f"{quality:g}", round(64 * 2 ** ((63 - quality) / 6)))


@pytest.mark.parametrize("target", [100, 200, 333, 500, 2000])
def test_a_conventional_file_fills_its_rate_from_below(target: int) -> None:
    sweep = Trials()
    quality = conventional.fit_quality(sweep, "libaom-cpu4", (128, 80), target)  # type: ignore[arg-type]
    size = sweep.record["codecs"]["libaom-cpu4"]["trials"]["128x80"][f"{quality:g}"]
    # whole steps of a twelfth of an octave: the next finer one would exceed the target
    assert target * 0.88 < size <= target
    assert len(sweep.record["codecs"]["libaom-cpu4"]["trials"]["128x80"]) <= 2 + 5


def test_below_its_floor_an_encoder_gives_its_cheapest_file() -> None:
    assert conventional.fit_quality(Trials(), "libaom-cpu4", (128, 80), 10) == 63  # type: ignore[arg-type]


def test_sweeps_look_where_the_rates_are() -> None:
    assert conventional.sweep_rates(RATES) == conventional.RATES
    others = conventional.sweep_rates((0.02, 0.05))
    assert others[0] < 0.02 < others[-1] == pytest.approx(0.05)


def test_systems_are_found_by_name_pattern_and_definition() -> None:
    found = systems.choose_systems(["auto-*", "svt-av1-p4", "auto-warp", "fine=effort=4,generator=latent,steps=8"])
    assert [s.id for s in found][:2] == ["auto-warp", "auto-latent"]
    assert [s.id for s in found][-2:] == ["svt-av1-p4", "fine"]
    assert (found[-1].encode, found[-1].decode) == ({"effort": 4}, {"generator": "latent", "steps": 8})
    assert len({s.id for s in found}) == len(found)
    usual = {s.id for s in systems.choose_systems(systems.USUAL)}
    assert {"auto-warp", "tgvc-latent", "actdiff-warp", "x265-slow"} <= usual
    assert not {s.id for s in systems.CATALOGUE.values() if s.note == systems.ABLATED} & usual


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "not known"),
        ("x=colour=red", "no option of encoder or decoder"),
        ("x=effort", "no option of encoder or decoder"),
        ("x=backend=onnxruntime", r"encode\.backend or decode\.backend"),
        ("x=effort=9", "effort=9"),
        ("a b=effort=1", "plain name"),
        ("auto-warp=effort=1", "taken"),
    ],
)
def test_systems_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        systems.choose_systems([text])


def test_a_side_can_be_named_where_both_have_the_key() -> None:
    system = systems.define_system("x=decode.generator=latent,decode.backend=onnxruntime")
    assert system.decode == {"generator": "latent", "backend": "onnxruntime"}


def test_every_ablation_differs_from_its_system_in_one_choice() -> None:
    for ablation in systems.ABLATIONS:
        whole, without = systems.CATALOGUE[ablation.system], systems.CATALOGUE[ablation.without]
        assert without.note == systems.ABLATED
        changed = set(without.encode.items()) - set(whole.encode.items())
        assert len(changed) == 1, ablation.title
        # what the decoder is told besides is the same choice
        assert set(without.decode.items()) - set(whole.decode.items()) <= changed, ablation.title
        EncoderConfig(**without.encode)
        DecoderConfig(**without.decode)


def test_code_counts_and_comments_do_not() -> None:
    plain = "def f(x):\n    return x + 1\n"
    told = '"""Module."""\ndef f(x):  # why\n    """Doc."""\n\n    return x + 1\n'
    assert strip_code(told) == strip_code(plain)
    assert strip_code("def f(x):\n    return x + 2\n") != strip_code(plain)


LOADED = """
import json, sys
from tgvc.config import EncoderConfig
from tgvc.planning.profiles import PROFILE_IDS, make_planner
of_some, found = json.loads(sys.argv[1]), {}
for profile in PROFILE_IDS:
    for name in of_some:
        sys.modules.pop(f"tgvc.planning.{name}", None)
    planner = make_planner(EncoderConfig(profile=profile, kbps=10), 1, 1)
    for rival in getattr(planner, "rivals", {}).values():
        rival.make()
    found[profile] = [name for name in of_some if f"tgvc.planning.{name}" in sys.modules]
print(json.dumps(found))
"""


def test_a_planner_counts_for_the_profiles_that_load_it_and_for_no_other() -> None:
    pytest.importorskip("hdbscan", reason="profile tgvc needs hdbscan (extra `cluster`)")
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(list(PLANNERS))], capture_output=True, text=True, check=True
    )
    wanted = {profile: [name for name, users in PLANNERS.items() if profile in users] for profile in PROFILES}
    assert json.loads(ran.stdout) == wanted
    assert len({hash_ours(profile) for profile in PROFILES}) == len(PROFILES)


def test_new_networks_count_for_the_systems_that_use_them_and_for_no_other(tmp_path: Path) -> None:
    compared = [
        systems.define_system(f"painted=generator=latent,decode.bundle={tmp_path}"),
        systems.define_system(f"seen=profile=tgvc,embedder={tmp_path},generator=warp"),
        systems.CATALOGUE["auto-warp"],
    ]
    question = Question((tmp_path / "clip.mp4",), tuple(compared), metrics=("psnr_y",))
    keys = []
    for text in ("{}", '{"revision": 2}'):
        (tmp_path / "manifest.json").write_text(text)
        keys.append([(entry_key(question, "clip", s, 0.005), stream_key("clip", s, 0.005, BPP)) for s in compared])
    changed = [[old != new for old, new in zip(*pair, strict=True)] for pair in zip(*keys, strict=True)]
    assert changed == [[True, False], [True, True], [False, False]]


def test_clips_of_folders_and_files_come_once_and_names_must_differ(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mkv", "notes.txt", "deep/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in find_clips([tmp_path, tmp_path / "b.mp4"])] == ["a.mkv", "b.mp4"]
    with pytest.raises(ConfigError, match="have one name"):
        find_clips([tmp_path, tmp_path / "deep"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no video"):
        find_clips([tmp_path / "empty"])


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nrest\n")
    replace_block(path, "| new |\n")
    assert path.read_text() == f"# Title\n\n{BEGIN}\n| new |\n{END}\n\nrest\n"
    path.write_text(f"{END} {BEGIN}")
    with pytest.raises(ConfigError, match="expected one line"):
        replace_block(path, "x")
