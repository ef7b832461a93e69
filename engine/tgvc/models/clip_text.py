"""Prompts as the tokens that a CLIP text tower takes: byte pair encoding with the vocabulary of CLIP.

The empty prompt needs no file. Any other needs ``bpe_simple_vocab_16e6.txt.gz``, which the package open_clip_torch has.
Source: Sennrich et al. 2016 for the encoding; Radford et al. 2021 for the vocabulary and the cleaning of text.
"""

from __future__ import annotations

import gzip
import html
import io
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from tgvc.errors import BundleError, ConfigError
from tgvc.models.contract import TEXT_TOKENS

VOCABULARY_FILE = "bpe_simple_vocab_16e6.txt.gz"
START, END = 49406, 49407
MOST_CHARACTERS = 4096  # 77 tokens hold far fewer, and merging takes the square of it in the worst case
_MERGES = START - 2 * 256  # what is left beside the bytes, inside and at the end of a word
_MOST_BYTES = 1 << 25  # of the file, unpacked; the original has a tenth
_WORD_END = "</w>"
_SPECIAL = {"<start_of_text>": START, "<end_of_text>": END}
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_QUOTES = dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'") | dict.fromkeys(range(0x201C, 0x2020), '"')
_DROPPED = (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))
_LIGATURES = (*range(0x132, 0x134), 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4), *range(0xFB00, 0xFB07))
_WIDE = (0x3000, *range(0xFF01, 0xFFF0))
_PLAIN = (
    {code: unicodedata.normalize("NFKC", chr(code)) for code in (*_LIGATURES, *_WIDE)}
    | {code: bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in range(0x80, 0xA0)}
    | _QUOTES
    | dict.fromkeys(_DROPPED)
)


class Vocabulary:
    """Which pairs of symbols become one symbol, those that come first in the file first."""

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        self._symbols = _byte_symbols()
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        inside = list(self._symbols.values())
        known = (*inside, *(symbol + _WORD_END for symbol in inside), *("".join(pair) for pair in merges))
        self._numbers = {symbol: number for number, symbol in enumerate(known)}

    @classmethod
    def parse(cls, data: bytes) -> Vocabulary:
        """From the bytes of `VOCABULARY_FILE`.

        Raises:
            BundleError: they are not those of such a file.
        """
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                text = stream.read(_MOST_BYTES).decode("utf-8")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as fault:
            raise BundleError(f"{VOCABULARY_FILE}: {fault}; expected the one of open_clip_torch") from fault
        merges = []
        for number, line in enumerate(text.split("\n")[1 : _MERGES + 1], start=2):
            first, space, second = line.partition(" ")
            if not first or not second or not space or " " in second:
                raise BundleError(f"{VOCABULARY_FILE}: line {number} is {line!r:.40}, expected two symbols")
            merges.append((first, second))
        if len(merges) != _MERGES:
            raise BundleError(f"{VOCABULARY_FILE}: {len(merges)} pairs of symbols, expected {_MERGES}")
        return cls(merges)

    def encode(self, text: str) -> Iterator[int]:
        """Tokens of a prompt, one after another, without start and end."""
        for piece in _split_text(_clean_text(text)):
            if piece in _SPECIAL:
                yield _SPECIAL[piece]
            else:
                yield from (self._numbers[symbol] for symbol in self._merge(piece))

    def _merge(self, piece: str) -> list[str]:
        parts = [self._symbols[byte] for byte in piece.encode()]
        parts[-1] += _WORD_END
        never = len(self._ranks)
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, never))
            if best not in self._ranks:
                break
            joined: list[str] = []
            n = 0
            while n < len(parts):
                found = tuple(parts[n : n + 2]) == best
                joined.append("".join(best) if found else parts[n])
                n += 2 if found else 1
            parts = joined
        return parts


def tokenise_prompts(prompts: Sequence[str], vocabulary: Vocabulary | None = None) -> npt.NDArray[np.int64]:
    """Prompts as a text tower takes them.

    What is too long is cut, so that the last token says that the text ends. Text that was once decoded by the wrong
    character set is taken as it is, where OpenCLIP repairs it.

    Args:
        prompts: N texts of at most `MOST_CHARACTERS`.
        vocabulary: may be missing if all prompts are empty.

    Returns:
        int64 (N, 77): `START`, what the text says, `END`, zeros.

    Raises:
        ConfigError: a prompt is too long or not Unicode, or it is not empty and there is no vocabulary.
    """
    tokens = np.zeros((len(prompts), TEXT_TOKENS), np.int64)
    for row, prompt in zip(tokens, prompts, strict=True):
        if len(prompt) > MOST_CHARACTERS:
            raise ConfigError(f"prompt of {len(prompt)} characters: expected at most {MOST_CHARACTERS}")
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise ConfigError(f"prompt={prompt!r:.40}: expected Unicode text")
        found: list[int] = []
        if prompt.strip():
            if vocabulary is None:
                raise ConfigError(
                    f"prompt={prompt!r:.40}: the bundle has no vocabulary, so the prompt has to be empty; "
                    f"export the bundle with {VOCABULARY_FILE}"
                )
            found = list(islice(vocabulary.encode(prompt), TEXT_TOKENS - 2))
        row[: len(found) + 2] = START, *found, END
    return tokens


def _clean_text(text: str) -> str:
    """Lower case, one space between words, straight quotes, no ligatures, no control characters, entities resolved."""
    if "<" not in text:  # else it may be a program of which entities are part
        text = html.unescape(text)
    text = unicodedata.normalize("NFC", text.translate(_PLAIN))
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def _split_text(text: str) -> Iterator[str]:
    """Words, single digits, runs of other signs, endings such as 's; spaces only part them."""
    n = 0
    while n < len(text):
        fixed = next((s for s in (*_SPECIAL, *_CONTRACTIONS) if text[n : n + len(s)].casefold() == s), "")
        kind, end = _kind_of(text[n]), n + (len(fixed) or 1)
        if not fixed and kind in ("L", ""):
            while end < len(text) and _kind_of(text[end]) == kind:
                end += 1
        if kind != " ":
            yield text[n:end]
        n = end


def _kind_of(character: str) -> str:
    """Letter, number, space, or nothing of these."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else ""


def _byte_symbols() -> dict[int, str]:
    """A character that can be seen for every byte, in the order in which the vocabulary numbers them."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + n) for n, byte in enumerate(unseen)}
