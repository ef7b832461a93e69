"""Noise: the published generator, numbers that depend on their position alone, and a distribution that is normal."""

import hashlib

import numpy as np
import pytest

from tgvc.diffusion.noise import NoiseSource
from tgvc.errors import ConfigError
from tgvc_kernels import latent_cpu, latent_reference, ops
from tgvc_kernels.quantiles import FRACTION_BITS, NODES, OCTAVES, normal_quantiles

# Random123's known answers for Philox4x32-10: counter, key, result
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.fixture(scope="module")
def many():
    """Half a million numbers."""
    return NoiseSource(20, 3).field(range(25), (8, 50, 50)).ravel().astype(np.float64)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_the_generator_is_philox(counter, key, words):
    found = latent_reference._philox([np.array([c], np.uint64) for c in counter], key)
    assert tuple(int(w[0]) for w in found) == words


def test_the_table_is_the_published_one():
    table = normal_quantiles()
    digest = hashlib.sha256(table.astype("<i4").tobytes()).hexdigest()
    assert digest == "c56fa7e7342d747efab3633c7c482ad81acc07dc4a25e1d361de3c238b55dcbf"
    assert table.max() < 2**23  # so that every value is exact in float32
    assert (-np.diff(table, axis=1)).max() < 2**14  # so that a twin may interpolate in 31 bits


def test_the_table_does_not_depend_on_how_quantiles_are_computed():
    special = pytest.importorskip("scipy.special", reason="scipy: a second source of quantiles")
    tails = (1 + np.arange(NODES + 1) / NODES) / 2.0 ** (np.arange(OCTAVES)[:, None] + 2)
    exact = -special.ndtri(tails) * 2**FRACTION_BITS
    assert np.array_equal(np.round(exact), normal_quantiles())
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-4  # the distance to a tie that the module states


def test_numbers_of_a_stream_are_pinned():
    field = NoiseSource(1, 2).field([5, 300], (5, 2, 3), step=4)
    assert (
        hashlib.sha256(field.astype("<f4").tobytes()).hexdigest()
        == "46959003175a65fb37a93c895b6db27b6af1f939d210d31bf6d6bcf440ccdc0c"
    )
    assert field[4, 1, 1, 2] == -0.3702201843261719


def test_twins_draw_the_same_bits():
    for channels, size in ((1, (1, 1)), (3, (5, 7)), (4, (2, 9)), (9, (13, 4))):
        frames = np.array([0, 7, 2**32 - 1], np.int64)
        arguments = (2**32 - 1, 17, frames, 3, channels, *size)
        assert np.array_equal(latent_cpu.normal_noise(*arguments), latent_reference.normal_noise(*arguments))


def test_every_word_gives_the_same_number_in_both_twins():
    edges = [2**k + d for k in range(33) for d in (-2, -1, 0, 1)]
    words = np.array(sorted({e % 2**32 for e in edges} | set(range(0, 2**32, 997_003))), np.uint64)
    table = latent_cpu._TABLE
    fast = np.array([latent_cpu._normal(np.uint32(w), table) for w in words], np.float32)
    assert np.array_equal(fast, latent_reference._normal(words))


def test_a_number_depends_on_its_position_alone():
    source, size = NoiseSource(9), (6, 4, 5)
    long = source.field(range(40), size)
    assert np.array_equal(source.field([31, 4], size), long[:, [31, 4]])
    assert np.array_equal(source.field([31], (2, 4, 5)), long[:2, 31:32])
    assert np.array_equal(source.steps([31], size)(0), source.field([31], size, 1))


def test_seed_group_frame_step_and_channel_each_change_everything():
    size = (8, 20, 20)
    base = NoiseSource(1, 1).field([1], size, 1)
    others = [
        NoiseSource(2, 1).field([1], size, 1),
        NoiseSource(1, 2).field([1], size, 1),
        NoiseSource(1, 1).field([2], size, 1),
        NoiseSource(1, 1).field([1], size, 2),
        np.roll(base, 1, axis=0),
        np.roll(base, 1, axis=3),
    ]
    # the correlation of 3200 independent pairs deviates by 1/sqrt(3200) = 0.018; four deviations
    assert all(abs((base * other).mean()) < 0.075 for other in others)


def test_moments_are_those_of_a_standard_normal(many):
    # four standard errors of mean, variance, third and fourth moment of n independent numbers
    n = many.size
    for power, want, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((many**power).mean() - want) < 4 * np.sqrt(variance / n)


def test_the_distribution_is_normal_everywhere(many):
    special = pytest.importorskip("scipy.special", reason="scipy: the distribution function")
    ordered = special.ndtr(np.sort(many))
    distance = np.abs(ordered - (np.arange(many.size) + 0.5) / many.size).max()
    # Kolmogorov-Smirnov: above 2.2 / sqrt(n) by chance once in ten thousand
    assert distance < 2.2 / np.sqrt(many.size)


def test_chords_stay_near_the_curve():
    special = pytest.importorskip("scipy.special", reason="scipy: exact quantiles")
    words = np.arange(0, 2**31, 20_011, dtype=np.uint64)
    exact = -special.ndtri((2 * words.astype(np.float64) + 1) / 2.0**33)
    # h^2 / 8 times the largest second derivative, 1.4e-5 at 1/64 of an octave, and a unit of 2^-20
    assert np.abs(latent_reference._normal(words) - exact).max() < 2e-5


@pytest.mark.parametrize("field", ["seed", "group"])
@pytest.mark.parametrize("value", [-1, 2**32])
def test_words_beyond_32_bits_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"{field}={value}: expected 0 to 4294967295"):
        NoiseSource(**{"seed": 0, field: value})


def test_bad_positions_are_refused():
    frames = np.arange(2, dtype=np.int64)
    for arguments, message in (
        ((0, 0, frames - 1, 0, 4, 2, 2), "frames: expected int64"),
        ((0, 0, frames.astype(np.int32), 0, 4, 2, 2), "frames: expected int64"),
        ((0, 0, frames, -1, 4, 2, 2), "step=-1"),
        ((0, 0, frames, 0, 0, 2, 2), "channels=0"),
    ):
        with pytest.raises(ValueError, match=message):
            ops.normal_noise(*arguments)
