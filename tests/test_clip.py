"""CLIP at export and at run time: names, exports, pixels and tokens."""

from __future__ import annotations

import gzip
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from golden import golden_files, read_arrays, read_meta
from tgvc.errors import BundleError, ConfigError
from tgvc.models.clip_image import MEAN, STD, prepare_pixels
from tgvc.models.clip_text import END, MOST_CHARACTERS, START, VOCABULARY_FILE, Vocabulary, tokenise_prompts

REAL = os.environ.get("TGVC_CLIP_VOCABULARY", "")
WORDS = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o</w>"), ("'", "s</w>"), ("4", "k</w>"), ("!", "!</w>")]
# numbers of symbols: bytes that can be seen and those that cannot, the same at the end of a word, pairs
AT_END, MERGED = 256, 512


def pack(lines: list[str]) -> bytes:
    return gzip.compress("\n".join(["#version: 0.2", *lines, ""]).encode(), 1, mtime=0)


def merge_lines() -> list[str]:
    """As many pairs as the real file has; all but the first few are of bytes that no text of the tests has."""
    rare = [chr(256 + n) for n in range(33)] + [chr(n) for n in range(0xC0, 0x100)]
    pairs = itertools.product(rare, (*rare, *(c + "</w>" for c in rare), *(c + d for c in rare for d in rare)))
    return [f"{a} {b}" for a, b in (*WORDS, *itertools.islice(pairs, START - 512 - len(WORDS)))]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.parse(pack(merge_lines()))


def said(prompt: str, vocabulary: Vocabulary) -> list[int]:
    """Tokens between start and end."""
    row = tokenise_prompts([prompt], vocabulary)[0].tolist()
    assert row[0] == START
    return row[1 : row.index(END)]


def test_the_empty_prompt_needs_no_vocabulary() -> None:
    tokens = tokenise_prompts(["", " \n "])
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [[START, END] + [0] * 75] * 2


def test_a_prompt_without_a_vocabulary_is_refused_with_the_name_of_the_file() -> None:
    with pytest.raises(ConfigError, match=VOCABULARY_FILE):
        tokenise_prompts(["a boat"])


@pytest.mark.parametrize(("prompt", "told"), [("a" * (MOST_CHARACTERS + 1), "4097 characters"), ("\udcff", "Unicode")])
def test_a_prompt_that_is_no_sensible_text_is_refused(prompt: str, told: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(ConfigError, match=told):
        tokenise_prompts([prompt], vocabulary)


def test_pairs_merge_in_the_order_of_the_file_and_the_end_of_a_word_counts(vocabulary: Vocabulary) -> None:
    hello, hell, he = MERGED + 3, MERGED + 2, MERGED
    letter = {c: ord(c) - ord("!") for c in "helov"}
    assert said("hello", vocabulary) == [hello]
    assert said("Hello  HELLO", vocabulary) == [hello, hello]
    assert said("hellover", vocabulary)[:3] == [hell, letter["o"], letter["v"]]
    assert said("hehe", vocabulary) == [he, letter["h"], AT_END + letter["e"]]


def test_words_digits_signs_and_endings_are_parted(vocabulary: Vocabulary) -> None:
    hello, ending, signs = MERGED + 3, MERGED + 4, MERGED + 6
    digit = {c: AT_END + ord(c) - ord("!") for c in "124"}
    assert said("hello's 12!!", vocabulary) == [hello, ending, digit["1"], digit["2"], signs]
    assert said("4k", vocabulary)[0] == digit["4"]  # a digit is alone, whatever the file would merge it with
    assert said("hello<end_of_text>hello", vocabulary) == [hello]
    assert said("hello<start_of_text>hello", vocabulary) == [hello, START, hello]


@pytest.mark.parametrize(
    ("prompt", "same"),
    [
        ("hello\u2019s", "hello's"),  # a typographic quote
        ("\uff48\uff45llo\u3000x", "hello x"),  # full width
        ("hell\x00o", "hello"),
        ("he\ufb02", "hefl"),  # a ligature
        ("e\u0301", "\u00e9"),
        ("x &amp;amp; y", "x & y"),
        ("wait\x85", "wait\u2026"),
    ],
)
def test_text_is_cleaned_before_it_is_read(prompt: str, same: str, vocabulary: Vocabulary) -> None:
    assert said(prompt, vocabulary) == said(same, vocabulary)


def test_a_long_prompt_is_cut_and_still_ends(vocabulary: Vocabulary) -> None:
    row = tokenise_prompts(["hello " * 100], vocabulary)[0]
    assert row.tolist() == [START, *[MERGED + 3] * 75, END]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"no archive", "Not a gzipped file"),
        (pack(merge_lines())[:5000], "end-of-stream"),
        (pack(["a b"]), "expected two symbols|1 pairs"),
        (pack(["a b c"]), "line 2 is 'a b c'"),
        (gzip.compress(b"\xff\xfe", mtime=0), "utf-8"),
    ],
    ids=["no archive", "cut", "one symbol", "three symbols", "no text"],  # the same in every process
)
def test_another_file_is_no_vocabulary(data: bytes, told: str) -> None:
    with pytest.raises(BundleError, match=told):
        Vocabulary.parse(data)


@pytest.mark.skipif(not REAL, reason=f"TGVC_CLIP_VOCABULARY does not name {VOCABULARY_FILE}")
def test_tokens_of_the_real_vocabulary_are_those_of_the_reference() -> None:
    real = Vocabulary.parse(Path(REAL).read_bytes())
    files = [path for path in golden_files() if "prompts" in read_meta(path)]
    assert files, "no reference tensors: set TGVC_GOLDEN"
    for path in files:
        want = read_arrays(path)["in.tokens"]
        np.testing.assert_array_equal(tokenise_prompts(read_meta(path)["prompts"], real), want)


def test_pixels_and_tokens_need_no_torch() -> None:
    code = "import sys, tgvc.models.clip_image, tgvc.models.clip_text; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_picture_of_one_colour_keeps_it_at_every_size() -> None:
    colour = np.array([-1.0, 0.0, 0.5], np.float32).reshape(1, 3, 1, 1)
    want = ((colour + 1) / 2 - np.array(MEAN).reshape(3, 1, 1)) / np.array(STD).reshape(3, 1, 1)
    for size in ((224, 224), (1, 1), (180, 300), (1080, 1920)):
        pixels = prepare_pixels(np.broadcast_to(colour, (2, 3, *size)).astype(np.float32))
        assert pixels.dtype == np.float32
        # sums of 15 + 4 float32 weights whose total is 1
        np.testing.assert_allclose(pixels, np.broadcast_to(want, (2, 3, 224, 224)), atol=1e-5)


def test_a_picture_of_the_right_size_is_only_normalised() -> None:
    picture = np.random.default_rng(1).uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)
    want = ((picture + 1) / 2 - np.array(MEAN).reshape(3, 1, 1)) / np.array(STD).reshape(3, 1, 1)
    np.testing.assert_allclose(prepare_pixels(picture), want, atol=1e-6)


def test_normalising_twice_is_the_same_picture_with_another_contrast() -> None:
    picture = np.random.default_rng(2).uniform(-1, 1, (1, 3, 240, 320)).astype(np.float32)
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (MEAN, STD))
    unit = prepare_pixels(picture) * std + mean  # 0..1, resized
    want = ((((unit - mean) / std) + 1) / 2 - mean) / std
    # resizing and normalising may change places, but for the rounding of numbers up to 8
    np.testing.assert_allclose(prepare_pixels(picture, normalised_twice=True), want, atol=2e-5)


def test_other_shapes_are_no_pictures() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\)"):
        prepare_pixels(np.zeros((1, 4, 8, 8), np.float32))
