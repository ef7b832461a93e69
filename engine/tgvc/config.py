"""What a caller may ask for: frozen, validated at construction; the command line is generated from the same fields."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tgvc.options import check_limits, documented, option, refuse
from tgvc.types import check_size

PROFILE_IDS = {"auto": 0, "tgvc": 1, "actdiff": 2, "dynamics": 3, "human": 4}  # as written into the header
PROFILES = ("auto", "tgvc", "actdiff", "dynamics", "human")  # those that `planning.profiles` can plan
GENERATORS = ("warp", "latent", "flow", "human")
GUIDES = ("sent", "all")
ENDS = ("both", "first")
SPREADS = ("shepard", "nearest")
NOISES = ("moved", "still")
PAINTS = ("all", "keys")
GOPS = ("adaptive", "fixed")
CROPS = ("square",)
POINTS = ("greedy", "unweighted", "uniform", "moving")
PARITIES = ("corrected", "reference")
OF_RESIDUAL = ("detail", "grain", "paint", "guides", "noise", "base")  # options that only bundles of this kind know
OF_INTERPOLATION = ("eta", "cfg", "cfg_start", "cfg_stop", "rescale", "fs", "prompt", "parity", "vae")
VAES = ("full", "tiny")
SOLVERS = ("ddim", "dpmpp-2m")  # made by `tgvc.diffusion.solvers`
FAST = ("steps3", "steps10", "steps10-half", "steps10-tiny")  # presets of `tgvc.synthesis.fast`
TIMESTEPS = ("trailing", "ays-sd", "ays-svd")
OF_PROFILES = {  # options that only some profiles know
    "embedder": ("tgvc",),
    "tracker": ("tgvc", "actdiff"),
    "parity": ("tgvc", "actdiff"),
    "backend": ("tgvc", "actdiff", "human"),
    "coverage": ("actdiff",),
    "gops": ("actdiff",),
    "points": ("actdiff",),
    "ends": ("actdiff",),
    "spacing": ("auto", "actdiff", "dynamics"),
    "modes": ("auto",),
    "bundle": ("human",),
}
_OF_LATENT = ("fast", "steps", "solver", "timesteps", "guidance", "bundle", "backend", *OF_RESIDUAL, *OF_INTERPOLATION)
_OF_PAINTERS = ("bundle", "backend")  # options of the generators flow and human
_OF_UNDERPAINTED = ("detail", "grain", "noise")  # options of the generator flow where diffusion follows
BASES = ("moved", "faded")
BACKENDS = (  # made by `tgvc.backends.base`
    "auto",
    "onnxruntime",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
    "torch-compile",
)
HUMAN_BUNDLE = "human-nano"  # what profile human looks and paints with, unless another bundle is named
FLOW_BUNDLE = "flow-nano"  # what the generator flow paints with, likewise
DEFAULT_BPP = 0.005
MAX_EFFORT = 4
MAX_SPACING = 32


@documented
@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """How to encode. At most one of ``bpp``, ``kbps``, ``bytes``, ``quality``; with none, 0.005 bits per pixel."""

    profile: str = option(
        "auto",
        "what is sent: auto = our own encoder, or dynamics or human where they measure better; tgvc, actdiff, "
        "dynamics, human = as the encoders of T-GVC, ActDiff-VC, Dynamics-Codec and MTTF",
        choices=PROFILES,
    )
    bpp: float | None = option(
        None, "target: bits per pixel of the working size, whole file", minimum=1e-5, maximum=24.0
    )
    kbps: float | None = option(None, "target: kilobits per second, whole file", minimum=1e-3, maximum=1e6)
    bytes: int | None = option(None, "target: bytes, whole file", minimum=1, maximum=1 << 40)
    quality: float | None = option(
        None, "constant quality instead of a target: 4 (fine) .. 70 (coarse)", minimum=4.0, maximum=70.0
    )
    size: tuple[int, int] | None = option(None, "working size WxH, multiples of 16; default: fits 512x320, aspect kept")
    crop: str | None = option(
        None,
        "part of the picture that is coded: square = its middle square, as the published codecs of people do; default: "
        "all of it",
        choices=CROPS,
    )
    effort: int = option(
        2, "time spent looking for the best choice: 0 (fast) .. 4 (slow)", minimum=0, maximum=MAX_EFFORT
    )
    group: int = option(96, "frames per independently decodable group, at most", minimum=2, maximum=1024)
    frames: int | None = option(None, "encode only the first N frames", minimum=1, maximum=1 << 31)
    fps: float | None = option(None, "pictures per second of a folder of pictures (25)", minimum=0.01, maximum=1000.0)
    spacing: int | None = option(
        None, "frames from one key picture to the next; default: chosen by measurement", minimum=1, maximum=MAX_SPACING
    )
    modes: str | None = option(
        None, "motion modes to choose from, letters of FHTG; default: by effort", metavar="LETTERS"
    )
    seed: int = option(
        0, "seed written into the stream for generators that draw noise", minimum=0, maximum=(1 << 32) - 1
    )

    embedder: str | None = option(
        None,
        "what profile tgvc compares pictures with: a bundle of kind interpolation, whose CLIP tower is used; default: "
        "weight-free",
        metavar="BUNDLE",
    )
    tracker: str | None = option(
        None,
        "what profiles tgvc and actdiff track points with: a bundle of kind tracker; default: optical flow",
        metavar="BUNDLE",
    )
    parity: str | None = option(
        None, "reference = as the published code of the profile, faults included; default: corrected", choices=PARITIES
    )
    coverage: float | None = option(
        None,
        "share of a picture that a key picture of profile actdiff has to cover to be used for it; default: chosen by "
        "measurement",
        minimum=0.0,
        maximum=1.0,
    )
    gops: str | None = option(
        None,
        "where profile actdiff puts key pictures: adaptive = where the picture has changed; fixed = as many of them, "
        "evenly; default: adaptive",
        choices=GOPS,
    )
    points: str | None = option(
        None,
        "what profile actdiff chooses trajectories by: greedy = where the motion is guessed worst, edges first; "
        "unweighted = edges or not; uniform = evenly spread; moving = what goes farthest; default: greedy",
        choices=POINTS,
    )
    ends: str | None = option(
        None,
        "first = profile actdiff plans for a decoder that is told the same, to see what the second key picture of a "
        "segment gains; default: both",
        choices=ENDS,
    )
    bundle: str | None = option(
        None, "networks of profile human: the name or the folder of a bundle; default: human-nano", metavar="NAME"
    )
    backend: str | None = option(
        None, "what runs these networks; auto: the fastest that runs here, which is the default", choices=BACKENDS
    )
    ignore_memory: bool = option(False, "start even where the networks are estimated to need more memory than there is")

    def __post_init__(self) -> None:
        check_limits(self)
        for name, knowing in OF_PROFILES.items():
            if getattr(self, name) is not None and self.profile not in knowing:
                rule = f"profile={' or '.join(knowing)} beside it: {self.profile} does not use it"
                refuse(name, getattr(self, name), rule)
        targets = [n for n in ("bpp", "kbps", "bytes", "quality") if getattr(self, n) is not None]
        if len(targets) > 1:
            refuse(" and ".join(targets), tuple(getattr(self, n) for n in targets), "one target only")
        modes: Any = self.modes  # fields may hold anything where nobody checks types
        if modes is not None and (not isinstance(modes, str) or not modes or set(modes) - set("FHTG")):
            refuse("modes", self.modes, "letters of FHTG, such as FT")
        size: Any = self.size
        if size is not None:
            if not isinstance(size, tuple | list) or len(size) != 2 or not all(isinstance(n, int) for n in size):
                refuse("size", size, "width and height, such as (512, 320)")
            check_size((size[0], size[1]))

    def target_bits(self, width: int, height: int, fps: Fraction, frames: int) -> float | None:
        """Bits that ``frames`` frames may take in all, or None for constant quality.

        ``bytes`` is a total of the whole file and has to be shared out by the caller, who knows the length.
        """
        if self.quality is not None:
            return None
        if self.kbps is not None:
            return self.kbps * 1000 * frames / float(fps)
        if self.bytes is not None:
            return self.bytes * 8.0
        return (DEFAULT_BPP if self.bpp is None else self.bpp) * width * height * frames


@documented
@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """How to decode."""

    generator: str | None = option(
        None,
        "what paints the frames: warp needs no networks, latent denoises with a bundle's, flow moves features of key "
        "pictures, human paints what profile human sends; default: human where the stream asks for it, else warp",
        choices=GENERATORS,
    )
    spread: str | None = option(
        None,
        "how trajectories fill the picture between them without networks: shepard = smoothly; nearest = every place "
        "moves as the nearest one, for previews; default: shepard",
        choices=SPREADS,
    )
    ends: str | None = option(
        None,
        "key pictures that the generator warp paints a segment of mode G from: both, or the first alone, which shows "
        "what the other one gains; default: both",
        choices=ENDS,
    )
    steps: int | None = option(
        None,
        "denoising steps of the latent generator; default: the bundle's; after the generator flow those of bundle nano "
        "over what it painted, default: 0",
        minimum=0,
        maximum=1000,
    )
    fast: str | None = option(
        None,
        "fewer or better placed steps for the latent generator, where the bundle was measured to end near many steps: "
        "steps3, steps10; with guidance in half of the steps or the tiny decoder; stands for the options that it sets",
        choices=FAST,
    )
    solver: str | None = option(
        None,
        "how the latent generator goes from step to step: ddim, or dpmpp-2m = DPM-Solver++(2M), which adds no noise; "
        "default: ddim",
        choices=SOLVERS,
    )
    timesteps: str | None = option(
        None,
        "where its steps lie: trailing = evenly; ays-sd, ays-svd = Align Your Steps, as published for Stable Diffusion "
        "and Stable Video Diffusion; default: trailing",
        choices=TIMESTEPS,
    )
    detail: float | None = option(
        None,
        "noise that the latent generator starts from; 0 is what is likeliest on average; default: the bundle's",
        minimum=0.0,
        maximum=1.0,
    )
    grain: float | None = option(
        None,
        "share of the source's fine texture that the latent generator makes up for with noise; default: 0.8",
        minimum=0.0,
        maximum=1.0,
    )
    paint: str | None = option(
        None,
        "which pictures the latent generator paints: all, or the key pictures, which then move as without it; "
        "default: all",
        choices=PAINTS,
    )
    guidance: float | None = option(
        None,
        "pull of the trajectories in the latent generator; default: 0, none; with a bundle of kind interpolation 1.1",
        minimum=0.0,
        maximum=100.0,
    )
    guides: str | None = option(
        None,
        "which trajectories pull: sent = those of the stream; all = every latent cell of the key pictures too; "
        "default: sent",
        choices=GUIDES,
    )
    noise: str | None = option(
        None, "noise of the latent generator: still, or moved along with what is shown; default: still", choices=NOISES
    )
    base: str | None = option(
        None,
        "what the latent generator adds to: key pictures moved along the motion, or only faded into each other, which "
        "shows what guidance does alone; default: moved",
        choices=BASES,
    )
    eta: float | None = option(
        None, "share of fresh noise in every step (bundles of kind interpolation)", minimum=0.0, maximum=1.0
    )
    cfg: float | None = option(
        None,
        "classifier-free guidance: how far beyond what is likely without the condition; 1 = none, half the time "
        "(bundles of kind interpolation)",
        minimum=0.0,
        maximum=100.0,
    )
    cfg_start: float | None = option(
        None,
        "share of the steps before classifier-free guidance begins; default: 0 (bundles of kind interpolation)",
        minimum=0.0,
        maximum=1.0,
    )
    cfg_stop: float | None = option(
        None,
        "share of the steps after which it ends; the others take half the time; default: 1 (bundles of kind "
        "interpolation)",
        minimum=0.0,
        maximum=1.0,
    )
    rescale: float | None = option(
        None,
        "how far the spread of that goes back to what it was before (bundles of kind interpolation)",
        minimum=0.0,
        maximum=1.0,
    )
    fs: int | None = option(
        None,
        "frame rate that the networks are told; less = more motion (bundles of kind interpolation)",
        minimum=1,
        maximum=1000,
    )
    vae: str | None = option(
        None,
        "which decoder makes pictures of latents: full, or the tiny one if the bundle has it; default: full (bundles "
        "of kind interpolation)",
        choices=VAES,
    )
    prompt: str | None = option(
        None, "what the frames show, in words; default: nothing (bundles of kind interpolation)", metavar="TEXT"
    )
    parity: str | None = option(
        None,
        "reference = as the published code, faults included; default: corrected (bundles of kind interpolation)",
        choices=PARITIES,
    )
    bundle: str | None = option(
        None,
        "networks of the generator: a name or a folder; default: nano for latent, flow-nano, human-nano",
        metavar="NAME",
    )
    backend: str | None = option(
        None, "what runs them; auto: the fastest that runs here, which is the default", choices=BACKENDS
    )
    start: float | None = option(None, "first moment shown, seconds", minimum=0.0, maximum=1e9)
    end: float | None = option(
        None, "moment before which the last frame shown begins, seconds", minimum=0.0, maximum=1e9
    )
    ignore_memory: bool = option(False, "start even where the networks are estimated to need more memory than there is")
    restore_size: bool = option(
        False, "scale the output back to the size of the source; H.264 stores even sides: odd ones become one larger"
    )
    threads: int = option(2, "frames rendered at once", minimum=1, maximum=64)

    def __post_init__(self) -> None:
        check_limits(self)
        if self.fast is not None:
            for name in ("steps", "solver", "timesteps", "cfg_start", "cfg_stop", "vae", "eta", "parity"):
                if getattr(self, name) is not None:
                    refuse(name, getattr(self, name), f"nothing beside fast={self.fast}, which sets it")
        if self.generator == "latent" and self.steps == 0:
            refuse("steps", 0, "1 or more")
        if self.generator != "latent":
            known: tuple[str, ...] = _OF_PAINTERS if self.generator in ("flow", "human") else ()
            chosen = self.generator or "the default generator"
            if self.generator == "flow":
                known = (*known, "steps", *(_OF_UNDERPAINTED if self.steps else ()))
                chosen = "flow" if self.steps else "flow without steps"
            for name in _OF_LATENT:
                if getattr(self, name) is not None and name not in known:
                    wanted = "latent, flow or human" if name in _OF_PAINTERS else "latent"
                    refuse(name, getattr(self, name), f"generator={wanted} beside it: {chosen} does not use it")
        for name in ("spread", "ends"):
            if getattr(self, name) is not None and self.generator not in (None, "warp"):
                refuse(name, getattr(self, name), f"generator=warp beside it: {self.generator} does not use it")
        if self.start is not None and self.end is not None and self.end <= self.start:
            refuse("end", self.end, f"more than start={self.start}")
