"""Video in, .tgvc out: the encoder, step by step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any

from tgvc.analysis.shots import ShotDetector
from tgvc.bitstream.container import Group, Header, Writer
from tgvc.config import MAX_EFFORT, MAX_SPACING, OF_PROFILES, PROFILE_IDS, EncoderConfig
from tgvc.errors import VideoError
from tgvc.memory import release_memory
from tgvc.opencv import one_cv_thread
from tgvc.output import open_output
from tgvc.planning.budget import Budget
from tgvc.planning.group import Task
from tgvc.planning.plan import GroupPlan
from tgvc.planning.profiles import make_planner
from tgvc.synthesis.grain import measure_texture
from tgvc.timing import shown_times
from tgvc.types import Picture, VideoInfo
from tgvc.video.reader import TimedPicture, is_constant_rate, open_video

Progress = Callable[[str, int, int | None], None]  # stage, frames done, frames in all if known
OnGroup = Callable[[GroupPlan, list[Picture]], None]


@dataclass
class EncodeReport:
    """What was written. Bits by layer in ``layers`` (bytes), one entry per group in ``groups``, seconds per stage."""

    frames: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    bytes: int = 0
    target_bytes: float | None = None
    bpp: float = 0.0
    kbps: float = 0.0
    psnr_y: float = 0.0
    ms_ssim: float = 0.0
    layers: dict[str, int] = field(default_factory=lambda: {"pictures": 0, "motion": 0, "overhead": 0})
    modes: dict[str, int] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return asdict(self)


class Encoder:
    """Encodes videos under one configuration; keeps no state between calls.

    Args:
        config: what is wanted; defaults to 0.005 bits per pixel.
        threads: candidates tried at once; the bytes do not depend on it.
    """

    def __init__(self, config: EncoderConfig | None = None, *, threads: int = 2) -> None:
        self.config = config or EncoderConfig()
        self.threads = threads

    def encode(
        self, source: Any, target: Any, on_progress: Progress | None = None, on_group: OnGroup | None = None
    ) -> EncodeReport:
        """Encode a video.

        Args:
            source: path, ``-`` or binary file object; see `tgvc.video.open_video`.
            target: path, ``-`` or binary file object; a file appears whole or not at all.
            on_progress: told of every stage; never draws.
            on_group: given every plan and its source pictures, for tools that look inside.

        Returns:
            The report; ``report.note`` says so if the target could not be met, and what of the source is not kept.

        Raises:
            ConfigError: a target that cannot be computed for this source.
            VideoError: the source cannot be read or the target cannot be written.
        """
        began = time.perf_counter()
        config = self.config
        # planes are small and candidates share the processor: OpenCV's own threads would only spin
        video = open_video(source, size=config.size, frames=config.frames, fps=config.fps, crop=config.crop)
        with one_cv_thread(), video:
            info = video.info
            if config.bytes is not None and info.count is None and video.replayable:
                info = replace(info, count=sum(1 for _ in video))  # a total can only be shared out over a known length
            budget = Budget(config, info)
            planner = make_planner(config, info.matrix, self.threads)
            report = EncodeReport(width=info.width, height=info.height, fps=float(info.fps))
            with open_output(target) as stream:
                writer = Writer(stream, make_header(info, config))
                clock = Fraction(0)
                for frames in split_groups(video, config.group):
                    pictures = [f.picture for f in frames]
                    if on_progress:
                        on_progress("plan", report.frames, info.count)

                    def advance(tried: int, done: int = report.frames, more: int = len(frames)) -> None:
                        if on_progress:  # how many candidates there will be is not known: approach the group's end
                            on_progress("plan", done + more * tried // (tried + 4), info.count)

                    plan = planner.plan(Task(pictures, budget.grant(len(frames)), config.quality), advance)
                    group = make_group(plan, pictures, [f.time - clock for f in frames], info.fps)
                    clock = shown_times(group, clock, info.fps)[-1] + 1 / info.fps
                    budget.spend(len(frames), writer.write(group))
                    if on_group:
                        on_group(plan, pictures)
                    _add_group(report, plan)
                    del plan, pictures, frames
                    release_memory()
                    if on_progress:
                        on_progress("write", report.frames, info.count)
                total = writer.finish()
        _close_report(report, total, budget, info, config)
        report.note = "; ".join(filter(None, (report.note, *video.losses)))
        report.seconds = time.perf_counter() - began
        return report


def split_groups(frames: Iterable[TimedPicture], limit: int) -> Iterator[list[TimedPicture]]:
    """Cut a video into groups: at every shot cut, and after ``limit`` frames at the latest.

    A shot somewhat longer than ``limit`` is halved, so that no tiny group is left at its end; for this up to half a
    group is read ahead.
    """
    detector, waiting, shot = ShotDetector(), deque[TimedPicture](), list[TimedPicture]()

    def settle(verdicts: list[bool]) -> Iterator[list[TimedPicture]]:
        for starts in verdicts:
            if starts and shot:
                yield from drain()
            shot.append(waiting.popleft())
            if len(shot) >= limit + (limit + 1) // 2:
                yield shot[:limit]
                del shot[:limit]

    def drain() -> Iterator[list[TimedPicture]]:
        if len(shot) > limit:
            half = len(shot) // 2
            yield shot[:half]
            del shot[:half]
        yield shot[:]
        shot.clear()

    for frame in frames:
        waiting.append(frame)
        yield from settle(detector.push(frame.picture))
    yield from settle(detector.finish())
    if shot:
        yield from drain()


def make_header(info: VideoInfo, config: EncoderConfig) -> Header:
    """The stream's header for a source and a configuration."""
    return Header(
        width=info.width,
        height=info.height,
        source_width=info.source_width,
        source_height=info.source_height,
        fps=info.fps,
        matrix=info.matrix,
        profile=PROFILE_IDS[config.profile],
        seed=config.seed,
    )


def make_group(plan: GroupPlan, pictures: list[Picture], times: list[Fraction], fps: Fraction) -> Group:
    """The coded form of a plan for its source ``pictures``.

    ``times``, in seconds from when the first frame is due, are stored only if uneven.
    """
    return Group(
        frames=len(times),
        keys=plan.keys,
        codec=plan.codec,
        key_width=plan.key_size[0],
        key_height=plan.key_size[1],
        pictures=plan.pictures,
        motion=plan.motion,
        kind=plan.kind,
        texture=measure_texture(pictures) if plan.kind == "tracks" else b"",  # nothing draws any on states
        times=None if is_constant_rate(times, fps) else tuple(round(t * 1_000_000) for t in times),
    )


def _add_group(report: EncodeReport, plan: GroupPlan) -> None:
    frames = len(plan.reconstruction)
    before, report.frames = report.frames, report.frames + frames
    report.psnr_y = (report.psnr_y * before + plan.verdict.psnr * frames) / report.frames
    report.ms_ssim = (report.ms_ssim * before + plan.verdict.ms_ssim * frames) / report.frames
    report.layers["pictures"] += len(plan.pictures)
    report.layers["motion"] += len(plan.motion)
    for name, count in plan.modes.items():
        report.modes[name] = report.modes.get(name, 0) + count
    report.groups.append(
        {
            "frames": frames,
            **plan.summary(),
            "trajectories": sum(len(s.anchors) for s in plan.segments),
            "trials": plan.trials,
        }
    )


def _close_report(report: EncodeReport, total: int, budget: Budget, info: VideoInfo, config: EncoderConfig) -> None:
    if report.frames == 0:
        raise VideoError("the source has no frames: expected at least one")
    report.bytes = total
    report.layers["overhead"] = total - report.layers["pictures"] - report.layers["motion"]
    report.bpp = 8 * total / (info.width * info.height * report.frames)
    report.kbps = 8 * total * float(info.fps) / report.frames / 1000
    report.target_bytes = budget.target(report.frames)
    if report.target_bytes is None:
        return
    share = total / report.target_bytes
    search = ["a higher --effort"] if config.effort < MAX_EFFORT else []
    if share > 1:
        far = f"{share - 1:.1%} above" if share < 10 else f"{share:,.0f} times"
        sparser = config.profile in OF_PROFILES["spacing"] and (config.spacing or 0) < MAX_SPACING
        keys = ["a larger --spacing"] if sparser else []
        ways = ", ".join(["a higher rate", *search, *keys])
        report.note = f"{far} the target: no choice that was tried takes less; ask for {ways} or a smaller --size"
    elif share < 0.95:
        finest = all(g["quality"] <= 4.5 for g in report.groups)
        why = "the finest quality that was tried needs no more" if finest else "the next finer step would exceed it"
        report.note = f"{1 - share:.1%} below the target: {why}{f'; {search[0]} may use more' if search else ''}"
