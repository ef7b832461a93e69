"""What the parts of an evaluation share: the open bench of a worker, what a part is to leave, what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tgvc.batch.places import describe_error
from tgvc.decoder import Decoder
from tgvc.types import FloatArray, Picture, VideoInfo
from tgvc_bench.evaluation.previews import encode_preview
from tgvc_bench.evaluation.scoring import ClipScorer, Scored, Scorer
from tgvc_bench.evaluation.sources import LoadedClip, Source, load_clip
from tgvc_bench.evaluation.systems import System

OpenDecoder = Callable[[Mapping[str, Any]], Decoder]
_MOST_DECODERS = 4  # with their networks


@dataclass
class PartResult:
    """What came of a part.

    ``entries`` of the record; ``files`` to write below the output, by name; ``streams`` with the seconds that encoding
    took; ``features`` float32 (N, D) of entries (clip, system, rate); ``sweep`` of a conventional encoder.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    streams: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    features: dict[tuple[str, str, float], FloatArray] = field(default_factory=dict)
    sweep: dict[str, Any] | None = None

    def note_source(self, source: Source, scorer: ClipScorer) -> None:
        """Keep the features of the source itself, under a name that no system has."""
        if scorer.features is not None:
            self.features[source.name, "", 0.0] = scorer.features

    @contextmanager
    def catching(self, clip: str, rate: float, systems: Sequence[System]) -> Iterator[None]:
        """A failure inside the block becomes an entry with its ``error`` for every system that has none yet."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the other entries are worth having
            self.add_errors(clip, rate, systems, error)

    def add_errors(self, clip: str, rate: float, systems: Sequence[System], error: Exception) -> None:
        """Entries with an error, for the systems that have none of this rate yet."""
        done = {e["system"] for e in self.entries if e["rate"] == rate}
        text = describe_error(error)
        self.entries += [
            {"clip": clip, "system": s.id, "rate": rate, "error": text} for s in systems if s.id not in done
        ]


@dataclass(frozen=True)
class Target:
    """Names of the files that an entry is to leave below the output folder; empty = none."""

    preview: str = ""
    tracks: str = ""

    def add_preview(self, result: PartResult, pictures: Sequence[Picture], info: VideoInfo) -> None:
        """Encode the preview, if one is asked for."""
        if self.preview:
            result.files[self.preview] = encode_preview(pictures, info)


class Bench:
    """What a worker keeps between parts: the scorer with its networks, the last clip, a few decoders.

    Args:
        scorer: ready.
        open_decoder: makes a decoder of the fields of its configuration.
    """

    def __init__(self, scorer: Scorer, open_decoder: OpenDecoder) -> None:
        self.scorer = scorer
        self._open = open_decoder
        self._clip: tuple[Source, LoadedClip, ClipScorer] | None = None
        self._decoders: dict[str, Decoder] = {}

    def read(self, source: Source) -> tuple[LoadedClip, ClipScorer]:
        """A clip and what scores need of it."""
        if self._clip is None or self._clip[0] != source:
            with source.file() as path:
                loaded = load_clip(path, source.frames, source.size, source.crop)
            self._clip = source, loaded, self.scorer.read(loaded)
        return self._clip[1], self._clip[2]

    def decoder(self, fields: Mapping[str, Any]) -> Decoder:
        """A decoder of this configuration, warm if it was used before."""
        key = json.dumps(dict(fields), sort_keys=True)
        if key not in self._decoders:
            if len(self._decoders) >= _MOST_DECODERS:
                del self._decoders[next(iter(self._decoders))]
            self._decoders[key] = self._open(fields)
        return self._decoders[key]


def add_scores(result: PartResult, entry: dict[str, Any], scored: Scored, target: Target) -> None:
    """Put an entry with its scores into the result."""
    result.entries.append({**entry, "scores": scored.scores, "frames": scored.frames})
    if scored.features is not None:
        result.features[entry["clip"], entry["system"], entry["rate"]] = scored.features
