"""The range coder: exact, short, bounded, and the same as its cost meter says."""

from __future__ import annotations

import math
import random
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgvc.bitstream.rangecoder import Context, CostMeter, NumberContexts, RangeDecoder, RangeEncoder
from tgvc.errors import BitstreamError, TruncatedError

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("bit"), st.integers(0, 1)),
        st.tuples(
            st.just("bits_raw"), st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, 2**n - 1), st.just(n)))
        ),
        st.tuples(st.just("uint"), st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))),
        st.tuples(st.just("sint"), st.one_of(st.integers(-9, 9), st.integers(1 - 2**32, 2**32 - 1))),
    ),
    max_size=80,
)


class Contexts:
    """One set of each kind, so that both sides begin alike."""

    def __init__(self, prior: int) -> None:
        self.bit, self.uint, self.sint = (
            Context(prior, 8),
            NumberContexts.fresh(6, 2),
            NumberContexts.fresh(9, 3, signed=True),
        )


def write(coder, operations, contexts) -> None:
    for name, value in operations:
        if name == "bits_raw":
            coder.bits_raw(*value)
        else:
            getattr(coder, name)(getattr(contexts, name), value)


def biased(count: int, chance: float, seed: int = 0) -> list[bool]:
    source = random.Random(seed)
    return [source.random() < chance for _ in range(count)]


def encode_bits(bits: list[bool], context: Context) -> bytes:
    encoder = RangeEncoder()
    for bit in bits:
        encoder.bit(context, bit)
    return encoder.finish()


@given(OPERATIONS, st.integers(1, 255))
def test_what_is_written_is_read_and_nothing_is_left(operations, prior):
    encoder = RangeEncoder()
    write(encoder, operations, Contexts(prior))
    decoder, contexts = RangeDecoder(encoder.finish()), Contexts(prior)
    for name, value in operations:
        if name == "bits_raw":
            assert decoder.bits_raw(value[1]) == value[0]
        else:
            assert getattr(decoder, name)(getattr(contexts, name)) == value
    decoder.finish()


@given(OPERATIONS, st.integers(1, 255))
def test_length_is_what_the_meter_says_and_less_than_two_bytes_more(operations, prior):
    encoder, meter = RangeEncoder(), CostMeter()
    write(encoder, operations, Contexts(prior))
    write(meter, operations, Contexts(prior))
    # 16 bits: rounding up to whole bytes and the value that singles out the interval; 0.5 %: steps of the price table
    # and what raw bits lose where the range is not a multiple of their number
    assert meter.bits * 0.995 - 8 <= 8 * len(encoder.finish()) <= meter.bits * 1.005 + 16


def test_contexts_learn_the_same_when_written_metered_and_read():
    bits = biased(3000, 0.2)
    written, metered, read = Context(), Context(), Context()
    data, meter, decoder = encode_bits(bits, written), CostMeter(), RangeDecoder(encode_bits(bits, Context()))
    for bit in bits:
        meter.bit(metered, bit)
        decoder.bit(read)
    assert (written.p, written.n) == (metered.p, metered.n) == (read.p, read.n)
    assert RangeDecoder(data).bit(Context()) == bits[0]


def test_a_meter_that_does_not_learn_leaves_its_contexts_alone():
    context, meter = Context(200, 3), CostMeter(learn=False)
    meter.bit(context, 1)
    assert (context.p, context.n) == (200 << 8, 3)
    assert meter.bits == pytest.approx(-math.log2(56 / 256), abs=0.02)  # the price table has 4096 steps


@pytest.mark.parametrize("chance", [0.5, 0.2, 0.05, 0.01])
def test_a_steady_source_costs_its_entropy(chance):
    bits = biased(60_000, chance)
    ones = sum(bits) / len(bits)
    entropy = -(ones * math.log2(ones) + (1 - ones) * math.log2(1 - ones)) * len(bits)
    # a context that goes on learning at the rate 1/127.5 pays about 1 / (4 * 127.5 * ln 2) = 0.003 bits per decision
    assert 8 * len(encode_bits(bits, Context())) <= entropy + 0.004 * len(bits) + 40


@pytest.mark.parametrize("prior", [16, 77, 128, 243])
def test_with_the_same_static_model_it_is_as_short_as_constriction(prior):
    stream = pytest.importorskip("constriction").stream
    bits = biased(40_000, 1 - prior / 256)
    encoder = RangeEncoder()
    for bit in bits:
        encoder.bit(Context(prior), bit)
    other = stream.queue.RangeEncoder()
    other.encode(np.array(bits, np.int32), stream.model.Bernoulli(1 - prior / 256, perfect=True))
    # 0.1 %: both are within rounding of the model's code length; 64 bits: constriction writes whole 32-bit words
    assert abs(8 * len(encoder.finish()) - other.num_bits()) <= 0.001 * other.num_bits() + 64


def test_carries_run_through_finished_bytes():
    carried = 0

    class Watched(RangeEncoder):
        def _carry(self) -> None:
            nonlocal carried
            carried += self._out[-1] == 255
            super()._carry()

    for seed in range(300):
        bits = biased(400, 0.5, seed)
        encoder = Watched()
        for i, bit in enumerate(bits):
            encoder.bit(Context(255 if i % 3 else 1), bit)
        decoder = RangeDecoder(encoder.finish())
        assert [decoder.bit(Context(255 if i % 3 else 1)) for i in range(len(bits))] == bits
    assert carried > 0  # at least one carry went through a byte of 255


def test_nothing_and_what_was_expected_cost_no_byte():
    assert RangeEncoder().finish() == b""
    assert encode_bits([False] * 20, Context(250, 60)) == b""


def test_bytes_are_pinned():
    encoder = RangeEncoder()
    write(encoder, [("bit", 1), ("bits_raw", (0x2A5, 10)), ("uint", 1000), ("sint", -3), ("bit", 0)], Contexts(100))
    assert encoder.finish().hex() == "cb499dd917"


def test_reading_far_beyond_the_end_is_refused():
    decoder = RangeDecoder(b"\x12\x34")
    with pytest.raises(TruncatedError, match="byte 2"):
        decoder.bits_raw(16 + 33)


@pytest.mark.parametrize("cut", [5, 9, 30])
def test_a_cut_tail_is_noticed_when_all_is_read(cut):
    values = list(range(0, 4000, 7))
    encoder = RangeEncoder()
    for value in values:
        encoder.bits_raw(value, 12)
    decoder = RangeDecoder(encoder.finish()[:-cut])
    with pytest.raises(BitstreamError):
        [decoder.bits_raw(12) for _ in values]


def test_bytes_that_nothing_reads_are_refused():
    decoder = RangeDecoder(encode_bits(biased(500, 0.5), Context()) + b"\0\0\0\0\1")
    context = Context()
    for _ in range(500):
        decoder.bit(context)
    with pytest.raises(BitstreamError, match="bytes too many"):
        decoder.finish()


@given(st.binary(max_size=60), st.integers(0, 3))
def test_foreign_bytes_end_in_values_or_in_a_bitstream_error(data, kind):
    decoder, contexts = RangeDecoder(data), NumberContexts.fresh(4, 2, signed=True)
    try:
        for _ in range(200):
            if kind == 0:
                assert 0 <= decoder.uint(contexts, 5000) <= 5000
            elif kind == 1:
                assert abs(decoder.sint(contexts)) < 2**32
            elif kind == 2:
                assert 0 <= decoder.bits_raw(33) < 2**33
            else:
                assert decoder.bit(contexts.top[0]) in (0, 1)
    except BitstreamError:
        pass


def test_a_number_beyond_its_limit_is_refused():
    encoder = RangeEncoder()
    encoder.uint(NumberContexts.fresh(), 100)
    with pytest.raises(BitstreamError, match="got 100, expected at most 99"):
        RangeDecoder(encoder.finish()).uint(NumberContexts.fresh(), 99)


@pytest.mark.parametrize("value", [-1, 2**32])
def test_numbers_that_cannot_be_written_are_refused(value):
    with pytest.raises(ValueError, match="expected 0"):
        RangeEncoder().uint(NumberContexts.fresh(), value)


def test_speed_is_at_least_200_000_decisions_per_second():
    bits = biased(50_000, 0.3)
    best = 0.0
    for _ in range(3):  # the best of three, since other work may run beside
        start = time.perf_counter()
        data = encode_bits(bits, Context())
        decoder, context = RangeDecoder(data), Context()
        for _ in bits:
            decoder.bit(context)
        best = max(best, 2 * len(bits) / (time.perf_counter() - start))
    assert best > 200_000
