import numpy as np
import pytest

from tgvc.errors import ConfigError
from tgvc.types import join_planes
from tgvc_bench import fidelity, metrics
from tgvc_bench.metrics import Reference, score, score_frames

cv2 = pytest.importorskip("cv2")


def make_scene(height, width):
    """A textured plane and a blurred, faded, disturbed copy, uint8: the input of the literal values below."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    p = 120 + 50 * np.sin(x / 9 + np.sin(y / 23) * 2) + 30 * np.cos(y / 5 + x / 31)
    p += 40 * ((x // 24 + y // 20) % 2) - 15 * np.sin(x * y / 997)
    padded = np.pad(p, 2, mode="edge")
    blurred = sum(padded[i : i + height, j : j + width] for i in range(5) for j in range(5)) / 25
    test = blurred * 0.9 + 8 + 6 * np.sin(x * 1.7 + y * 0.9)
    return [np.clip(np.round(v), 0, 255).astype(np.uint8) for v in (p, test)]


# piq 0.8.0 (torch 2.13, float64) on make_scene, data_range 255: multi_scale_ssim, gmsd, haarpsi, vif_p.
PIQ = {
    (176, 208): {"ms_ssim": 0.95388586, "gmsd": 0.06245555, "haarpsi": 0.82325823, "vif": 0.46842314},
    (320, 512): {"ms_ssim": 0.95321444, "gmsd": 0.06233487, "haarpsi": 0.80941722, "vif": 0.47029712},
}


DISTURBANCES = ("noise", "brighter", "moved", "blocks")


def disturb_scene(kind):
    """A scene and what one fault makes of it, uint8: what codecs do at low rates, and more."""
    reference = make_scene(192, 208)[0]
    values = reference.astype(np.float64)
    if kind == "noise":
        values = values + np.random.default_rng(3).normal(0, 12, values.shape)
    elif kind == "brighter":
        values = 1.15 * values + 9
    elif kind == "moved":
        values = np.roll(values, (1, 2), (0, 1))
    else:
        values = np.kron(values[4::8, 4::8], np.ones((8, 8)))
    return reference, np.clip(np.round(values), 0, 255).astype(np.uint8)


# piq 0.8.0 (torch 2.13, float64) on disturb_scene, printed by tests/piq_reference.py
PIQ_DISTURBED = {
    "noise": {"ms_ssim": 0.97176070, "gmsd": 0.03321096, "haarpsi": 0.83268402, "vif": 0.41337146},
    "brighter": {"ms_ssim": 0.98685975, "gmsd": 0.07082602, "haarpsi": 0.92546598, "vif": 0.94986481},
    "moved": {"ms_ssim": 0.90525915, "gmsd": 0.12815032, "haarpsi": 0.65712069, "vif": 0.28568347},
    "blocks": {"ms_ssim": 0.84271124, "gmsd": 0.31148725, "haarpsi": 0.19338021, "vif": 0.22009734},
}


def make_clip(count, shift=2, seed=0, height=176, width=192):
    """Smooth random texture that moves ``shift`` px to the right per frame, plus static chroma."""
    random = np.random.default_rng(seed)
    wide = cv2.GaussianBlur(random.standard_normal((height, width + 64)).astype(np.float32), (0, 0), 2)
    wide = np.clip(128 + 60 * wide / wide.std(), 0, 255).astype(np.uint8)
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return [join_planes(wide[:, 60 - shift * t : 60 - shift * t + width], chroma, chroma) for t in range(count)]


def blur(pictures, sigma):
    """The pictures with blurred luma."""
    result = []
    for p in pictures:
        q = p.copy()
        height = p.shape[0] * 2 // 3
        q[:height] = cv2.GaussianBlur(p[:height], (0, 0), sigma)
        result.append(q)
    return result


@pytest.mark.parametrize("size", PIQ)
@pytest.mark.parametrize("name", ["ms_ssim", "gmsd", "haarpsi", "vif"])
def test_fidelity_agrees_with_piq(name, size):
    reference, test = (p.astype(np.float32) for p in make_scene(*size))
    # float32 filters against float64: differences up to 1e-7 were seen; a wrong constant moves the third digit.
    assert metrics.FIDELITY[name](reference, test) == pytest.approx(PIQ[size][name], abs=2e-6)


@pytest.mark.parametrize("kind", DISTURBANCES)
@pytest.mark.parametrize("name", ["ms_ssim", "gmsd", "haarpsi", "vif"])
def test_fidelity_agrees_with_piq_on_other_faults(name, kind):
    reference, test = (p.astype(np.float32) for p in disturb_scene(kind))
    # as above; noise makes more of the variances, of which float32 keeps six digits
    assert metrics.FIDELITY[name](reference, test) == pytest.approx(PIQ_DISTURBED[kind][name], abs=2e-6)


def test_psnr_agrees_with_scikit_image():
    ours = pytest.importorskip("skimage.metrics").peak_signal_noise_ratio
    reference, test = make_scene(176, 208)
    # float32 squares of differences below 256 are exact; only the order of the sum differs.
    expected = ours(reference, test, data_range=255)
    assert fidelity.psnr(reference.astype(np.float32), test.astype(np.float32)) == pytest.approx(expected, abs=1e-6)


def test_identical_clips_score_perfectly():
    clip = make_clip(4)
    result = score(clip, clip)
    best = {"psnr_y": 100, "ms_ssim": 1, "gmsd": 0, "haarpsi": 1, "vif": 1, "tof": 0, "flicker": 0, "swd": 0}
    # HaarPSI's logit of a saturated sum and float32 variances leave a few 1e-5.
    assert result == pytest.approx({**best, "grad_energy": 1}, abs=1e-4)


def test_more_blur_is_worse_in_every_score():
    clip = make_clip(3)
    reference = Reference(clip)
    scores = [score(reference, blur(clip, sigma)) for sigma in (0.8, 1.6, 3.0)]
    for key in set(scores[0]) - {"tof"}:  # flow of a rigid shift survives blur
        values = [s[key] for s in scores]
        assert values == sorted(values, reverse=key not in metrics.SMALLER_IS_BETTER), key


def test_wrong_motion_raises_tof_and_flicker():
    clip, still = make_clip(5, shift=3), make_clip(5, shift=0)
    result = score(clip, still)
    # 3 px per frame is 1.5 px at half size; DIS finds it within a tenth, except where texture enters at the border.
    assert result["tof"] == pytest.approx(1.5, rel=0.1)
    assert result["flicker"] > 10 * score(clip, blur(clip, 0.3))["flicker"]


def test_sliced_distance_ignores_where_texture_lies_but_not_its_loss():
    clip = make_clip(2, seed=1)
    moved = [np.concatenate([np.roll(p[:176], (17, 31), (0, 1)), p[176:]]) for p in clip]
    other = score(clip, moved)
    gone = score(clip, blur(clip, 2.5))
    assert other["psnr_y"] < gone["psnr_y"]
    assert other["swd"] < gone["swd"] / 3


def test_clip_scores_are_means_of_frame_scores():
    clip = make_clip(4)
    test = [blur([p], 0.5 + t)[0] for t, p in enumerate(clip)]
    frames, result = score_frames(clip, test), score(clip, test)
    assert np.isnan(frames["tof"][0])
    assert np.isnan(frames["flicker"][0])
    for key in set(result) - {"grad_energy"}:
        assert frames[key].shape == (4,)
        assert result[key] == pytest.approx(np.nanmean(frames[key]))


def test_a_subset_of_keys_gives_the_same_numbers():
    clip = make_clip(2)
    test = blur(clip, 1)
    assert score(clip, test, ["vif", "psnr_y"]) == {k: score(clip, test)[k] for k in ("vif", "psnr_y")}


def test_one_frame_has_no_change():
    clip = make_clip(1)
    result = score(clip, blur(clip, 1))
    assert (result["tof"], result["flicker"]) == (0, 0)


def test_scores_do_not_depend_on_opencv_threads():
    clip = make_clip(3)
    test = blur(clip, 1)
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            results.append(score(clip, test))
    finally:
        cv2.setNumThreads(before)
    # float32 sums may be taken in another order, which moves the ninth digit; flow would move the second
    assert results[0] == pytest.approx(results[1], rel=1e-6)


@pytest.mark.parametrize(
    ("reference", "test", "message"),
    [
        (2, 1, "1 test frames for 2 reference frames"),
        (0, 0, "reference of 0 frames"),
    ],
)
def test_counts_that_differ_are_refused(reference, test, message):
    clip = make_clip(2)
    with pytest.raises(ConfigError, match=message):
        score(clip[:reference], clip[:test])


def test_sizes_that_differ_or_are_too_small_are_refused():
    clip = make_clip(1)
    with pytest.raises(ConfigError, match="expected uint8 of equal shape"):
        score(clip, make_clip(1, height=192))
    with pytest.raises(ConfigError, match="at least 161 px"):
        score(make_clip(1, height=128), make_clip(1, height=128))
    with pytest.raises(ConfigError, match="unknown key 'ssim'"):
        score(clip, clip, ["ssim"])


def test_vmaf_is_high_for_equal_clips_and_falls_with_blur():
    pytest.importorskip("imageio_ffmpeg")
    from tgvc_bench.vmaf import score_vmaf

    clip = make_clip(3)
    same, soft, softer = (score_vmaf(clip, t) for t in (clip, blur(clip, 1.5), blur(clip, 3)))
    for name in ("vmaf", "vmaf_neg"):
        assert 95 < same[name] <= 100
        assert same[name] > soft[name] > softer[name]
    with pytest.raises(ConfigError, match="as many test frames"):
        score_vmaf(clip, clip[:2])
