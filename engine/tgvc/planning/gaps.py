"""Key frames at uneven distances: near each other where motion fails, far apart where it holds.

Evenly spaced candidates have been coded to the same number of bytes by then, so the frames of each tell where its
spacing is the better one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from tgvc.bitstream.group import uniform_keys


def mix_spacings(merits: Mapping[int, Sequence[float]], home: int, margin: float) -> tuple[float, tuple[int, ...]]:
    """Key frames with the spacing that was locally the best.

    Args:
        merits: spacing -> merit of every frame, dB, under keys at that even spacing (`uniform_keys`). Each spacing is
            a multiple of the next smaller one, or reaches from the first frame to the last.
        home: the spacing that was best over all.
        margin: dB per frame by which another spacing must beat it.

    Returns:
        What is expected to be gained, dB in the mean over the frames, and the keys from 0 to the last frame.
    """
    count = len(merits[home])
    spacings = sorted(merits)
    gains = {s: np.subtract(merits[s], merits[home]) - (s != home) * margin for s in spacings}
    sums = {s: np.concatenate([[0.0], np.cumsum(gain)]) for s, gain in gains.items()}

    def settle(first: int, last: int, level: int) -> tuple[float, list[int]]:
        """The best gain of the frames after ``first`` up to ``last``, and the keys among them."""
        spacing = spacings[level]
        worth = float(sums[spacing][last + 1] - sums[spacing][first + 1])
        if level == 0:
            return worth, [first + key for key in uniform_keys(last - first + 1, spacing)[1:]]
        starts = uniform_keys(last - first + 1, spacings[level - 1])
        parts = [settle(first + a, first + b, level - 1) for a, b in pairwise(starts)]
        split = sum(part[0] for part in parts)
        return (split, [key for part in parts for key in part[1]]) if split > worth else (worth, [last])

    parts = [settle(first, last, len(spacings) - 1) for first, last in pairwise(uniform_keys(count, spacings[-1]))]
    return sum(part[0] for part in parts) / count, (0, *(key for part in parts for key in part[1]))


def split_failures(keys: tuple[int, ...], merits: Sequence[float], share: float, plain: bool) -> tuple[int, ...]:
    """Key frames added in the segments whose painted frames lose most beside the coded ones around them.

    Args:
        keys: key frames so far.
        merits: merit of every frame, dB.
        share: of the segments with painted frames; at least one.
        plain: code all frames of such a segment, instead of the middle one.

    Returns:
        The key frames, more or the same.
    """
    lost = []
    for first, last in pairwise(keys):
        if last - first > 1:
            inner = merits[first + 1 : last]
            lost.append(((merits[first] + merits[last]) / 2 * len(inner) - sum(inner), first, last))
    added = set(keys)
    for _, first, last in sorted(lost, reverse=True)[: max(1, round(share * len(lost)))]:
        added |= set(range(first, last)) if plain else {(first + last) // 2}
    return tuple(sorted(added))


def thin_keys(keys: tuple[int, ...], merits: Sequence[float], share: float, widest: int) -> tuple[int, ...]:
    """Key frames without those between the segments that are painted best beside the keys around them.

    Args:
        keys: key frames so far.
        merits: merit of every frame, dB.
        share: of the keys that may go; never two neighbours.
        widest: longest distance that may arise, frames.
    """
    lost = []
    for n, (first, key, last) in enumerate(zip(keys, keys[1:], keys[2:], strict=False), start=1):
        inner = [*merits[first + 1 : key], *merits[key + 1 : last]]
        if last - first <= widest and inner:
            lost.append(((merits[first] + merits[key] + merits[last]) / 3 - float(np.mean(inner)), n))
    gone: set[int] = set()
    for _, n in sorted(lost):
        if len(gone) < share * len(keys) and not {n - 1, n + 1} & gone:
            gone.add(n)
    return tuple(key for n, key in enumerate(keys) if n not in gone)
