"""What an evaluation compares: systems of ours, as profile and generator, and conventional encoders."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tgvc.config import GENERATORS, HUMAN_BUNDLE, PROFILES, DecoderConfig, EncoderConfig
from tgvc.errors import ConfigError
from tgvc.generators import BUNDLES
from tgvc_bench.encoders import ENCODERS, is_available

ANCHOR = "svt-av1-p4"
USUAL = ("*-warp", "*-latent", "svt-av1-p4", "x265-slow", "x264-veryslow", "vvenc-fast")
_HUMAN = "human"
_OF_PEOPLE = ("auto", _HUMAN)  # profiles whose encoder may look with networks of people
ABLATED = "for an ablation"  # note of systems that stand for no codec of their own
_COVERAGE = 0.7  # of the published code
_TITLES = {
    "svt-av1-p4": "SVT-AV1 preset 4",
    "svt-av1-p2": "SVT-AV1 preset 2",
    "x265-slow": "x265 slow",
    "x264-veryslow": "x264 veryslow",
    "libaom-cpu4": "libaom cpu-used 4",
    "vvenc-fast": "VVC, vvenc fast",
}
_NOTES = {
    "auto": "whatever measures best for the encoder",
    "tgvc": "semantic key frames, trajectories of motion instances, as T-GVC's encoder",
    "actdiff": "segments that end by coverage, trajectories bought by bits, as ActDiff-VC's encoder",
    "dynamics": "few key frames and the paths of watershed anchors, as Dynamics-Codec's encoder",
    "human": "a few numbers per frame that networks paint from, as MTTF",
    "warp": "painted without networks",
    "latent": "painted by the networks of a bundle",
    "flow": "painted over the weight-free picture by networks that move features",
}
_ENCODE, _DECODE = ({s.name for s in dataclasses.fields(kind)} for kind in (EncoderConfig, DecoderConfig))


@dataclass(frozen=True)
class System:
    """One thing that is compared.

    ``encode``, ``decode``: fields of `EncoderConfig` and `DecoderConfig`; ``codec``: name of a conventional encoder, in
    place of both.
    """

    id: str
    title: str
    encode: Mapping[str, Any] = field(default_factory=dict)
    decode: Mapping[str, Any] = field(default_factory=dict)
    codec: str = ""
    note: str = ""

    @property
    def family(self) -> str:
        """``tgvc`` or ``conventional``."""
        return "conventional" if self.codec else "tgvc"

    @property
    def profile(self) -> str:
        """Whose planner encodes, for a system of ours."""
        return str(self.encode.get("profile", "auto"))

    @property
    def eyes(self) -> list[str]:
        """Names or folders of the bundles that the encoder may look with."""
        named = [str(self.encode[option]) for option in ("embedder", "tracker", "bundle") if option in self.encode]
        people = not self.codec and "bundle" not in self.encode and self.profile in _OF_PEOPLE
        return named + [HUMAN_BUNDLE] * people

    @property
    def painters(self) -> list[str]:
        """Name or folder of the bundle that the decoder paints with, if it needs one."""
        named = self.decode.get("bundle") or BUNDLES.get(str(self.decode.get("generator")))
        return [str(named)] if named else []

    def describe(self) -> dict[str, Any]:
        """The system as it stands in a record."""
        if self.codec:
            options: dict[str, Any] = {"command": " ".join(["ffmpeg", *ENCODERS[self.codec].command()])}
        else:
            options = {f"encode.{k}": v for k, v in self.encode.items()} | {
                f"decode.{k}": v for k, v in self.decode.items()
            }
        return {"title": self.title, "family": self.family, "options": options, "note": self.note}


@dataclass(frozen=True)
class Ablation:
    """What one choice of a system is worth: ``without`` differs from ``system`` in that choice alone.

    ``published``: what its authors found without it, in words; more is worse.
    """

    title: str
    system: str
    without: str
    published: str = ""


def _profile_systems() -> dict[str, System]:
    found = {}
    for profile in PROFILES:
        for generator in GENERATORS:
            if (profile == _HUMAN) != (generator == _HUMAN):  # its streams carry what no other generator reads
                continue
            name = f"{profile}-{generator}"
            note = "; ".join(_NOTES[n] for n in dict.fromkeys((profile, generator)) if n in _NOTES)
            encode = {} if profile == "auto" else {"profile": profile}
            found[name] = System(name, f"tgvc {profile}, {generator}", encode, {"generator": generator}, note=note)
    return found


def _conventional_systems() -> dict[str, System]:
    note = "at the best of its sizes for every rate"
    return {name: System(name, _TITLES.get(name, name), codec=name, note=note) for name in ENCODERS}


def _ablation_systems() -> dict[str, System]:
    """Profile actdiff with key frames as far apart as the published coverage allows, and with one choice taken back.

    Left to choose, it would answer most losses with nearer key frames, and hide them.
    """
    variants: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "ablated-nothing": ("at the published coverage", {}, {}),
        "ablated-fixed": ("as many key frames, evenly", {"gops": "fixed"}, {}),
        "ablated-uniform": ("points evenly spread", {"points": "uniform"}, {}),
        "ablated-moving": ("points that go farthest", {"points": "moving"}, {}),
        "ablated-unweighted": ("points by plain error, edges not preferred", {"points": "unweighted"}, {}),
        "ablated-one-key": ("painted from the key frame before alone", {"ends": "first"}, {"ends": "first"}),
    }
    return {
        name: System(
            name,
            f"tgvc actdiff, {what}",
            {"profile": "actdiff", "coverage": _COVERAGE, **encode},
            {"generator": "warp", **decode},
            note=ABLATED,
        )
        for name, (what, encode, decode) in variants.items()
    }


CATALOGUE: dict[str, System] = {**_profile_systems(), **_conventional_systems(), **_ablation_systems()}
_UVG = "ActDiff-VC on UVG at one rate:"
ABLATIONS: tuple[Ablation, ...] = (
    Ablation(
        "Segments: adaptive or of one length",
        "ablated-nothing",
        "ablated-fixed",
        f"{_UVG} +0.132 LPIPS, +24.7 FID, without edges too",
    ),
    Ablation("Points: greedy or evenly spread", "ablated-nothing", "ablated-uniform", f"{_UVG} +0.025 LPIPS, +5.6 FID"),
    Ablation(
        "Points: greedy or those that go farthest",
        "ablated-nothing",
        "ablated-moving",
        f"{_UVG} +0.046 LPIPS, +12.5 FID",
    ),
    Ablation(
        "Points: edges preferred or not", "ablated-nothing", "ablated-unweighted", f"{_UVG} +0.022 LPIPS, +1.4 FID"
    ),
    Ablation(
        "Key frames of a segment: two or one", "ablated-nothing", "ablated-one-key", f"{_UVG} +0.032 LPIPS, +1.3 FID"
    ),
)


def choose_systems(wanted: Sequence[str]) -> list[System]:
    """Systems by their names, patterns of names (``auto-*``), or definitions (see `define_system`), without repeats.

    Raises:
        ConfigError: nothing has that name, or a definition is not valid.
    """
    chosen: dict[str, System] = {}
    for text in wanted:
        if "=" in text:
            system = define_system(text)
            if system.id in CATALOGUE or system.id in chosen:
                raise ConfigError(f"system {system.id!r}: the name is taken; choose another")
            chosen[system.id] = system
            continue
        found = [name for name in CATALOGUE if fnmatchcase(name, text)]
        if not found:
            raise ConfigError(
                f"system {text!r}: not known, expected some of {', '.join(CATALOGUE)}, or NAME=KEY=VALUE,..."
            )
        chosen.update({name: CATALOGUE[name] for name in found if name not in chosen})
    return list(chosen.values())


def usual_systems() -> list[System]:
    """The systems of an evaluation that names none; encoders that the ffmpeg binary lacks are left out."""
    return [s for s in choose_systems(USUAL) if not s.codec or is_available(ENCODERS[s.codec])]


def define_system(text: str) -> System:
    """A system of ours from a text such as ``fine=effort=4,generator=latent,steps=8``.

    A key that encoder and decoder both have is written ``encode.KEY`` or ``decode.KEY``.

    Raises:
        ConfigError: an unknown key, or values that the codec refuses.
    """
    name, _, rest = text.partition("=")
    if not name or set(name) & set("/\\*?[] ") or not rest:
        raise ConfigError(f"system {text!r}: expected NAME=KEY=VALUE,KEY=VALUE,... with a plain name")
    sides: dict[str, dict[str, Any]] = {"encode": {}, "decode": {}}
    for pair in rest.split(","):
        key, equals, value = pair.partition("=")
        side, dot, inner = key.partition(".")
        if dot and side in sides:
            homes, key = [side], inner
        else:
            homes = [s for s, names in (("encode", _ENCODE), ("decode", _DECODE)) if key in names]
        if not equals or not homes or key not in (_ENCODE if homes[0] == "encode" else _DECODE):
            raise ConfigError(f"system {name!r}: {pair!r} is no option of encoder or decoder with a value")
        if len(homes) > 1:
            raise ConfigError(
                f"system {name!r}: encoder and decoder both have {key!r}: write encode.{key} or decode.{key}"
            )
        sides[homes[0]][key] = _read_value(value)
    EncoderConfig(**sides["encode"])
    DecoderConfig(**sides["decode"])
    return System(name, f"tgvc, {rest.replace(',', ', ')}", sides["encode"], sides["decode"])


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
