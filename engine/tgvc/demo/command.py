"""The demo, step by step: encode, decode, check, compare, show."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tgvc.config import DEFAULT_BPP, EncoderConfig
from tgvc.decoder import Decoder
from tgvc.demo.comparison import Column, draw_comparison
from tgvc.demo.scene import FPS, SIZE, render_scene
from tgvc.encoder import Encoder, EncodeReport
from tgvc.errors import TgvcError
from tgvc.output import open_output
from tgvc.planning.judge import Verdict, judge
from tgvc.planning.keytrack import KeyTrack
from tgvc.planning.plan import GroupPlan
from tgvc.types import Picture, VideoInfo, picture_size
from tgvc.video.reader import open_video
from tgvc.video.writer import VideoWriter

_AV1, _AV1_SCALE, _AV1_PRESET = 0, Fraction(1, 2), 4
_AV1_ALLOWANCE = 1.03  # what AV1 may take beyond our size
_MOST_FRAMES = 1000  # everything is kept in memory
_MOMENTS = (Fraction(1, 5), Fraction(1, 2), Fraction(4, 5))


@dataclass
class Witness:
    """What the encoder saw and what it says the decoder will show, frame by frame; ``keys`` are frame numbers."""

    originals: list[Picture] = field(default_factory=list)
    promised: list[Picture] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)

    def take(self, plan: GroupPlan, pictures: list[Picture]) -> None:
        """Remember a group."""
        self.keys += [len(self.originals) + key for key in plan.keys]
        self.originals += pictures
        self.promised += plan.reconstruction


@dataclass(frozen=True)
class Rival:
    """AV1 at about our size: bytes of the bare stream, coded size in px, its pictures, how good they are."""

    bytes: int
    size: tuple[int, int]
    pictures: list[Picture]
    verdict: Verdict


@click.command()
@click.argument("video", required=False, type=click.Path(exists=True))
@click.option("--bpp", default=DEFAULT_BPP, show_default=True, help="Bits per pixel.")
@click.option("--effort", default=2, show_default=True, type=click.IntRange(0, 4), help="Of the encoder.")
@click.option("--frames", default=240, show_default=True, type=click.IntRange(1, _MOST_FRAMES), help="At most.")
@click.option("-o", "--output", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder.")
def demo(video: str | None, bpp: float, effort: int, frames: int, output: Path) -> None:
    """Send VIDEO, or a clip made on the spot, through tgvc and through AV1 at the same size."""
    console = Console(highlight=False)
    output.mkdir(parents=True, exist_ok=True)
    with console.status("starting") as status:
        if video is None:
            status.update("rendering a clip")
            video = str(render_clip(output / "scene.mkv"))
        name = Path(video).stem
        stream, shown, picture = (output / f"{name}{suffix}" for suffix in (".tgvc", ".mp4", ".png"))
        if shown.resolve() == Path(video).resolve():
            shown = output / f"{name}.tgvc.mp4"
        witness = Witness()

        def follow(verb: str) -> Callable[[str, int, int | None], None]:
            return lambda stage, done, total: status.update(
                f"{verb}: {done} of {total or len(witness.originals)} frames"
            )

        config = EncoderConfig(bpp=bpp, effort=effort, frames=frames)
        report = Encoder(config).encode(video, stream, follow("encoding"), witness.take)
        Decoder().decode(stream, shown, follow("decoding"))
        status.update("checking")
        decoded = [frame.picture for frame in Decoder().frames(stream)]
        wrong = find_difference(decoded, witness.promised)
        status.update("coding the same frames with SVT-AV1")
        rival = code_rival(witness.originals, report.bytes)
        with open_output(picture) as target, open_video(video, frames=1) as source:
            columns = make_columns(witness.originals, decoded, rival, report)
            moments = choose_moments(len(decoded), witness.keys)
            drawn = [Column(c.title, c.facts, [c.pictures[n] for n in moments]) for c in columns]
            captions = [describe_moment(n, witness.keys, report.fps) for n in moments]
            draw_comparison(drawn, captions, source.info.matrix).save(target, format="PNG")
    console.print(make_table(report, rival))
    if report.note:
        console.print(report.note)
    console.print(f"{stream}: the stream\n{shown}: decoded, to be watched\n{picture}: side by side")
    if wrong is not None:
        console.print(f"frame {wrong} is not what the encoder promised: this is a bug", style="red")
        sys.exit(1)
    console.print(f"the decoder's {len(decoded)} frames equal the encoder's own reconstruction")


def render_clip(path: Path) -> Path:
    """Write the clip of `tgvc.demo.scene` without loss."""
    info = VideoInfo(width=SIZE[0], height=SIZE[1], source_width=SIZE[0], source_height=SIZE[1], fps=Fraction(FPS))
    with VideoWriter(path, info, codec="ffv1") as writer:
        for picture in render_scene():
            writer.write(picture)
    return path


def find_difference(decoded: list[Picture], promised: list[Picture]) -> int | None:
    """The first frame in which two runs of pictures differ; None if they are equal."""
    for number, (one, other) in enumerate(zip(decoded, promised, strict=False)):
        if one.shape != other.shape or (one != other).any():
            return number
    return None if len(decoded) == len(promised) else min(len(decoded), len(promised))


def code_rival(originals: list[Picture], size: int) -> Rival:
    """The same frames by SVT-AV1 at half size, as fine as fits into ``size`` bytes and 3 % more.

    If even its coarsest quality takes more, that one.
    """
    track = KeyTrack(originals, _AV1, _AV1_SCALE, _AV1_PRESET)
    quality = track.search(size * _AV1_ALLOWANCE, tolerance=0.02, tries=9)
    pictures = track.pictures(quality)
    return Rival(len(track.code(quality).payload), track.size, pictures, judge(originals, pictures))


def choose_moments(count: int, keys: list[int]) -> list[int]:
    """Frames about a fifth, half and four fifths into the video, each halfway between two key pictures if it can be."""
    moments = set()
    for share in _MOMENTS:
        number = int((count - 1) * share)
        before, after = max(k for k in keys if k <= number), min((k for k in keys if k > number), default=number)
        moments.add((before + after) // 2)
    return sorted(moments)


def describe_moment(number: int, keys: list[int], fps: float) -> str:
    """A caption: which frame, when, and how tgvc coded it."""
    before, after = max(k for k in keys if k <= number), min(k for k in keys if k >= number)
    how = "a key picture" if before == after else f"painted between the key pictures {before} and {after}"
    return f"frame {number}, {number / fps:.2f} s; tgvc: {how}"


def make_columns(originals: list[Picture], decoded: list[Picture], rival: Rival, report: EncodeReport) -> list[Column]:
    """Source, tgvc and AV1, each with all frames."""
    width, height = picture_size(originals[0])
    beyond = rival.bytes / report.bytes - 1
    ours = f"{report.bytes:,} bytes, {report.bpp:.5f} bpp, {report.psnr_y:.2f} dB, MS-SSIM {report.ms_ssim:.3f}"
    theirs = f"{rival.bytes:,} bytes ({beyond:+.1%}), {rival.verdict.psnr:.2f} dB, MS-SSIM {rival.verdict.ms_ssim:.3f}"
    return [
        Column("source", f"{width}x{height}, {len(originals)} frames", originals),
        Column("tgvc", ours, decoded),
        Column(f"SVT-AV1 preset {_AV1_PRESET} at {rival.size[0]}x{rival.size[1]}", theirs, rival.pictures),
    ]


def make_table(report: EncodeReport, rival: Rival) -> Table:
    """The numbers side by side; quality is of luma, the mean over all frames, at the working size."""
    pixels = report.width * report.height * report.frames
    table = Table(title=f"{report.frames} frames of {report.width}x{report.height} at {report.fps:g} per second")
    table.add_column("")
    table.add_column("tgvc", justify="right")
    table.add_column(f"SVT-AV1 preset {_AV1_PRESET}, {rival.size[0]}x{rival.size[1]}", justify="right")

    def per_side(name: str, text: Callable[[int], str]) -> None:
        table.add_row(name, text(report.bytes), text(rival.bytes))

    per_side("bytes", lambda size: f"{size:,}")
    per_side("bits per pixel", lambda size: f"{8 * size / pixels:.5f}")
    per_side("kbit/s", lambda size: f"{8 * size * report.fps / report.frames / 1000:.2f}")
    per_side("of raw 4:2:0", lambda size: f"1:{1.5 * pixels / size:,.0f}")
    table.add_row("PSNR", f"{report.psnr_y:.2f} dB", f"{rival.verdict.psnr:.2f} dB")
    table.add_row("MS-SSIM", f"{report.ms_ssim:.4f}", f"{rival.verdict.ms_ssim:.4f}")
    table.add_row("counted", "the whole file", "the bare stream")
    return table


def main() -> None:
    """Run the demo; an expected failure is one line on stderr and exit status 1."""
    try:
        demo()
    except TgvcError as error:
        click.echo(f"tgvc.demo: error: {error}", err=True)
        raise SystemExit(1) from error
