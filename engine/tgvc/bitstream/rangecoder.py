"""Binary adaptive range coder: decisions <-> bytes, in integers only, the same on every machine.

The interval is [low, low + range) with 2**24 <= range <= 2**32 between decisions; a decision splits it in proportion to
a 16-bit probability, the product being exact in 64 bits. A `Context` learns that probability: its n-th observation
moves it by 1 / (n + 1.5), the rate settling at 1 / 127.5. On payloads of a few hundred bytes this costs a quarter less
than a fixed pair of fast and slow rates, which is why there is only one rate (measured on point tracks).

Writers and readers have the same verbs: `bit`, `bits_raw`, `uint`, `sint`. `CostMeter` is a writer that counts instead
of writing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tgvc.errors import BitstreamError, TruncatedError

TOP = 1 << 32
BOTTOM = 1 << 24
SETTLED = 126  # observations after which a context's rate stops falling
RATES = tuple(131072 // (2 * n + 3) for n in range(SETTLED + 1))  # 65536 / (n + 1.5), rounded down
MAX_BITS = 32  # `uint` codes 0 .. 2**32 - 1
TAIL = 4  # bytes that a reader may imagine beyond the end: all zero


class Context:
    """What is known of one kind of decision.

    Args:
        prior: probability of 0 at the start, in 1/256, 1 .. 255.
        weight: how many observations the prior is worth, 0 .. 126.
    """

    __slots__ = ("n", "p")

    def __init__(self, prior: int = 128, weight: int = 0) -> None:
        self.p = prior << 8  # probability of 0 in 1/65536, always 1 .. 65535
        self.n = weight  # observations so far, at most SETTLED


@dataclass(frozen=True)
class NumberContexts:
    """The contexts of one kind of number; entries may be shared with other kinds.

    ``length[i]``: is the number longer than i bits (the last entry serves all longer ones). ``top[b - 2]``: the bit
    below the leading one of a number of b bits (the last entry likewise). ``sign``: is a non-zero number negative.
    """

    length: Sequence[Context]
    top: Sequence[Context]
    sign: Context | None = None

    @classmethod
    def fresh(cls, lengths: int = 8, tops: int = 3, signed: bool = False) -> NumberContexts:
        """Contexts that know nothing yet."""
        return cls([Context() for _ in range(lengths)], [Context() for _ in range(tops)], Context() if signed else None)


class BitWriter:
    """Numbers in terms of decisions: what the encoder and the cost meter share."""

    def bit(self, context: Context, value: int) -> None:
        """Write one decision, 0 or 1, and let the context learn from it."""
        raise NotImplementedError

    def bits_raw(self, value: int, count: int) -> None:
        """Write the ``count`` lowest bits of ``value``, highest first, each worth exactly one bit."""
        raise NotImplementedError

    def uint(self, contexts: NumberContexts, value: int) -> None:
        """Write 0 <= value < 2**32: its length in bits in unary, then the bits below the leading one."""
        bits = value.bit_length()
        if value < 0 or bits > MAX_BITS:
            raise ValueError(f"value={value}: expected 0..{(1 << MAX_BITS) - 1}")
        length = contexts.length
        last = len(length) - 1
        for i in range(bits):
            self.bit(length[i if i < last else last], 1)
        if bits < MAX_BITS:
            self.bit(length[bits if bits < last else last], 0)
        if bits > 1:
            top = contexts.top
            self.bit(top[min(bits - 2, len(top) - 1)], value >> (bits - 2) & 1)
            self.bits_raw(value & ((1 << (bits - 2)) - 1), bits - 2)

    def sint(self, contexts: NumberContexts, value: int) -> None:
        """Write -2**32 < value < 2**32: `uint` of the magnitude, then the sign of a non-zero one."""
        self.uint(contexts, abs(value))
        if value:
            if contexts.sign is None:
                self.bits_raw(value < 0, 1)
            else:
                self.bit(contexts.sign, value < 0)


class RangeEncoder(BitWriter):
    """Decisions -> bytes."""

    def __init__(self) -> None:
        self._low = 0
        self._range = TOP - 1
        self._out = bytearray()

    def bit(self, context: Context, value: int) -> None:
        """As `BitWriter.bit`."""
        p = context.p
        n = context.n
        bound = self._range * p >> 16
        if value:
            self._low += bound
            self._range -= bound
            context.p = p - (p * RATES[n] >> 16)
        else:
            self._range = bound
            context.p = p + ((65536 - p) * RATES[n] >> 16)
        if n < SETTLED:
            context.n = n + 1
        while self._range < BOTTOM:
            self._shift()

    def bits_raw(self, value: int, count: int) -> None:
        """As `BitWriter.bits_raw`."""
        while count > 0:
            take = min(count, 16)
            count -= take
            self._range >>= take
            self._low += self._range * (value >> count & ((1 << take) - 1))
            while self._range < BOTTOM:
                self._shift()

    def finish(self) -> bytes:
        """All the bytes, with the shortest tail that works: a reader imagines zeros beyond the end."""
        end = self._low + self._range
        for kept in range(TAIL + 1):  # of the four bytes of low, keep as few as possible
            unit = 1 << 8 * (TAIL - kept)
            value = -(-self._low // unit) * unit
            if value < end:
                break
        if value >= TOP:
            self._carry()
            value -= TOP
        return bytes(self._out) + value.to_bytes(TAIL, "big")[:kept]

    def _shift(self) -> None:
        low = self._low
        if low >= TOP:
            self._carry()
            low -= TOP
        self._out.append(low >> 24)
        self._low = (low & (BOTTOM - 1)) << 8
        self._range <<= 8

    def _carry(self) -> None:
        out = self._out
        i = len(out) - 1
        while out[i] == 255:
            out[i] = 0
            i -= 1
        out[i] += 1


class CostMeter(BitWriter):
    """Decisions -> their ideal length in bits, for an encoder that wants to know a price.

    Args:
        learn: whether contexts learn from what is metered, as they do when it is written.
    """

    def __init__(self, learn: bool = True) -> None:
        self.bits = 0.0
        self._learn = learn

    def bit(self, context: Context, value: int) -> None:
        """Count one decision."""
        p = context.p
        self.bits += COSTS[(65536 - p if value else p) >> 4]
        if self._learn:
            n = context.n
            if value:
                context.p = p - (p * RATES[n] >> 16)
            else:
                context.p = p + ((65536 - p) * RATES[n] >> 16)
            if n < SETTLED:
                context.n = n + 1

    def bits_raw(self, value: int, count: int) -> None:
        """Count ``count`` bits."""
        self.bits += count


COSTS = tuple(-math.log2((i + 0.5) / 4096) for i in range(4096))  # bits, by probability in 1/4096


class RangeDecoder:
    """Bytes -> decisions.

    Args:
        data: what `RangeEncoder.finish` gave.

    Raises (from the verbs):
        TruncatedError: more than four bytes beyond the end were needed.
        BitstreamError: bytes that no encoder writes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._end = len(data)
        self._next = TAIL
        self._range = TOP - 1
        self._code = int.from_bytes(data[:TAIL].ljust(TAIL, b"\0"), "big")

    @property
    def position(self) -> int:
        """Bytes read so far, never more than there are: where to look when something is wrong."""
        return min(self._next, self._end)

    def bit(self, context: Context) -> int:
        """Read one decision and let the context learn from it."""
        p = context.p
        n = context.n
        bound = self._range * p >> 16
        if self._code >= bound:
            self._code -= bound
            self._range -= bound
            context.p = p - (p * RATES[n] >> 16)
            value = 1
        else:
            self._range = bound
            context.p = p + ((65536 - p) * RATES[n] >> 16)
            value = 0
        if n < SETTLED:
            context.n = n + 1
        while self._range < BOTTOM:
            self._shift()
        return value

    def bits_raw(self, count: int) -> int:
        """Read ``count`` bits."""
        value = 0
        while count > 0:
            take = min(count, 16)
            count -= take
            self._range >>= take
            piece = self._code // self._range
            if piece >> take:
                raise BitstreamError(f"range coder, byte {self.position}: a value outside its interval")
            self._code -= piece * self._range
            value = value << take | piece
            while self._range < BOTTOM:
                self._shift()
        return value

    def uint(self, contexts: NumberContexts, limit: int = (1 << MAX_BITS) - 1) -> int:
        """Read a number of at most ``limit``; a larger one is a BitstreamError."""
        length = contexts.length
        last = len(length) - 1
        bits = 0
        while bits < MAX_BITS and self.bit(length[bits if bits < last else last]):
            bits += 1
        value = bits
        if bits > 1:
            top = contexts.top
            value = 2 | self.bit(top[min(bits - 2, len(top) - 1)])
            value = value << (bits - 2) | self.bits_raw(bits - 2)
        if value > limit:
            raise BitstreamError(f"range coder, byte {self.position}: got {value}, expected at most {limit}")
        return value

    def sint(self, contexts: NumberContexts, limit: int = (1 << MAX_BITS) - 1) -> int:
        """Read a number of a magnitude of at most ``limit``."""
        value = self.uint(contexts, limit)
        if value and (self.bits_raw(1) if contexts.sign is None else self.bit(contexts.sign)):
            return -value
        return value

    def finish(self) -> None:
        """Refuse bytes that nothing has read."""
        if self._next < self._end:
            raise BitstreamError(f"range coder, byte {self._next}: {self._end - self._next} bytes too many")

    def _shift(self) -> None:
        at = self._next
        if at < self._end:
            self._code = self._code << 8 | self._data[at]
        elif at < self._end + TAIL:
            self._code <<= 8
        else:
            raise TruncatedError(f"range coder, byte {self._end}: the data ends too early")
        self._next = at + 1
        self._range <<= 8
