"""One series of integers over time <-> decisions: the coefficients of a track's axis, or of one global mode's.

A transformed series is its end (the index after the last non-zero coefficient), then the coefficients from the last to
the first: each is told by the three after it, since magnitudes fall with frequency. A ``dpcm`` series is the error of
the constant-velocity prediction, sample by sample.
"""

from __future__ import annotations

from collections.abc import Sequence

from tgvc.bitstream.contexts import CLASSES, ENDS, SeriesContexts
from tgvc.bitstream.rangecoder import BitWriter, RangeDecoder
from tgvc.bitstream.transform import COEF_LIMIT
from tgvc.errors import BitstreamError


def put_series(writer: BitWriter, contexts: SeriesContexts, values: Sequence[int]) -> None:
    """Write the coefficients of a transformed series; the reader knows how many there are."""
    n = len(values)
    end = n
    while end and not values[end - 1]:
        end -= 1
    for i in range(n):
        writer.bit(contexts.end[min(i, ENDS - 1)], i < end)
        if i == end:
            break
    a = b = c = 0  # magnitudes of the three coefficients after this one
    for i in range(end - 1, -1, -1):
        value = values[i]
        size = -value if value < 0 else value
        if i == end - 1:
            writer.uint(contexts.last[min(i, contexts.last_orders)], size - 1)
        else:
            writer.uint(contexts.coef[min(i, contexts.orders)][_class(2 * a + b + c)], size)
        if size:
            writer.bits_raw(value < 0, 1)
        a, b, c = size, a, b


def get_series(reader: RangeDecoder, contexts: SeriesContexts, n: int) -> list[int]:
    """Read n coefficients."""
    values = [0] * n
    end = 0
    while end < n and reader.bit(contexts.end[min(end, ENDS - 1)]):
        end += 1
    a = b = c = 0
    for i in range(end - 1, -1, -1):
        if i == end - 1:
            size = reader.uint(contexts.last[min(i, contexts.last_orders)], 2 * COEF_LIMIT - 1) + 1
        else:
            size = reader.uint(contexts.coef[min(i, contexts.orders)][_class(2 * a + b + c)], 2 * COEF_LIMIT)
        if size:
            values[i] = -size if reader.bits_raw(1) else size
        a, b, c = size, a, b
    return values


def put_dpcm(writer: BitWriter, contexts: SeriesContexts, values: Sequence[int]) -> None:
    """Write the samples of an untransformed series that was at rest at zero before it began."""
    p = q = 0  # the two samples before this one
    a = b = c = 0  # magnitudes of the three errors before this one
    sign = 0
    for value in values:
        error = value - 2 * p + q
        size = -error if error < 0 else error
        writer.uint(contexts.dpcm[_class(2 * a + b + c)], size)
        if size:
            writer.bit(contexts.dpcm_sign[sign], error < 0)
            sign = 1 if error > 0 else 2
        p, q = value, p
        a, b, c = size, a, b


def get_dpcm(reader: RangeDecoder, contexts: SeriesContexts, n: int) -> list[int]:
    """Read n samples."""
    values = []
    p = q = a = b = c = sign = 0
    for _ in range(n):
        error = size = reader.uint(contexts.dpcm[_class(2 * a + b + c)])
        if size:
            negative = reader.bit(contexts.dpcm_sign[sign])
            error = -size if negative else size
            sign = 2 if negative else 1
        value = error + 2 * p - q
        if not -2 * COEF_LIMIT <= value <= 2 * COEF_LIMIT:
            raise BitstreamError(f"motion, byte {reader.position}: a sample of {value} steps, expected {COEF_LIMIT}")
        values.append(value)
        p, q = value, p
        a, b, c = size, a, b
    return values


def _class(around: int) -> int:
    return min(around.bit_length(), CLASSES - 1)
