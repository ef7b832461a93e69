"""What a command prints when it is done: a few aligned lines for people, or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tgvc.cli.paths import STDIO

if TYPE_CHECKING:  # the encoder and the decoder take long to import, and `tgvc info` needs neither
    from tgvc.decoder import DecodeReport
    from tgvc.encoder import EncodeReport

_MODE_NAMES = {
    "F": "flow",
    "T": "flow + tracks",
    "G": "global + tracks",
    "H": "cross-fade",
    "A": "states",
    "plain": "plain",
}


def print_lines(rows: Sequence[tuple[str, str]], *, to_stderr: bool = False) -> None:
    """Print pairs of a name and a text in two columns; empty texts are left out."""
    for name, text in rows:
        if text:
            click.echo(f"{name:<9} {text}", err=to_stderr)


def print_json(values: Mapping[str, Any], *, to_stderr: bool = False) -> None:
    """Print values as one JSON object."""
    click.echo(json.dumps(values, indent=2, allow_nan=False), err=to_stderr)


def show_report(
    values: Mapping[str, Any], rows: Sequence[tuple[str, str]], output: str, as_json: bool, quiet: bool
) -> None:
    """Print a report on standard output, or on stderr where standard output carries the result itself."""
    to_stderr = output == STDIO
    if as_json:
        print_json(values, to_stderr=to_stderr)
    elif not quiet:
        print_lines(rows, to_stderr=to_stderr)


def encode_rows(report: EncodeReport, output: str) -> list[tuple[str, str]]:
    """The lines of an encoder's report."""
    met = ""
    if report.target_bytes:
        share, asked = report.bytes / report.target_bytes, report.target_bytes
        part = f"{share:.1%} of" if share < 10 else f"{share:,.0f} times"
        met = f", {part} the {asked:{',.0f' if asked >= 10 else '.2g'}} asked for"
    raw = 1.5 * report.width * report.height * report.frames
    return [
        ("wrote", f"{'standard output' if output == STDIO else output}: {report.bytes:,} bytes{met}"),
        (
            "rate",
            f"{report.bpp:.5f} bits per pixel, {report.kbps:.2f} kbit/s, 1:{raw / report.bytes:,.0f} of raw 4:2:0",
        ),
        ("video", f"{report.frames:,} frames of {report.width}x{report.height} at {report.fps:g} per second"),
        ("quality", f"PSNR {report.psnr_y:.2f} dB, MS-SSIM {report.ms_ssim:.4f} (luma, all frames, at this size)"),
        ("layers", format_layers(report.layers)),
        ("motion", format_modes(report.modes)),
        ("time", f"{report.seconds:.1f} s, {report.frames / max(report.seconds, 1e-9):.1f} frames per second"),
        ("note", report.note),
    ]


def decode_rows(report: DecodeReport, output: str) -> list[tuple[str, str]]:
    """The lines of a decoder's report."""
    speed = report.frames / max(report.seconds, 1e-9)
    return [
        ("wrote", "standard output" if output == STDIO else output),
        ("video", f"{report.frames:,} frames of {report.width}x{report.height} at {report.fps:g} per second"),
        ("time", f"{report.seconds:.1f} s, {speed:.1f} frames per second, generator {report.generator}"),
        ("networks", format_networks(report)),
        ("stages", ", ".join(f"{name} {spent:.1f} s" for name, spent in report.stages.items())),
    ]


def format_networks(report: DecodeReport) -> str:
    """Which networks ran on what; empty without any."""
    if not report.bundle:
        return ""
    steps = "1 step" if report.steps == 1 else f"{report.steps} steps"
    if report.solver not in ("", "ddim"):
        steps += f" of {report.solver}"
    place = "" if report.device == "cpu" else f" on {report.device}"
    made_by = f"{report.backend} with {', '.join(report.providers)}{place}"
    return ", ".join([f"bundle {report.bundle}", *([steps] if report.steps else []), made_by])


def info_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The lines of what a stream holds."""
    groups = facts["groups"]
    keys = sum(len(g["keys"]) for g in groups)
    sizes = sorted({"x".join(map(str, g["key_size"])) for g in groups})
    source = f"{facts['source_width']}x{facts['source_height']}"
    return [
        ("file", f"{facts['file']}: {facts['bytes']:,} bytes"),
        ("video", f"{facts['frames']:,} frames of {facts['width']}x{facts['height']}, source {source}"),
        ("length", f"{facts['seconds']:.3f} s at {facts['fps']:g} frames per second"),
        ("rate", f"{facts['bpp']:.5f} bits per pixel, {facts['kbps']:.2f} kbit/s"),
        ("layers", format_layers(facts["layers"])),
        ("groups", f"{len(groups)} with {keys:,} key pictures coded at {', '.join(sizes)}"),
        ("motion", f"{format_modes(facts['modes'])}; {sum(g['trajectories'] for g in groups):,} trajectories"),
        ("hidden", format_hidden(groups)),
        ("states", format_states(groups)),
        ("loopable", format_loopable(groups)),
        ("profile", f"{facts['profile']}, seed {facts['seed']}, colour matrix {facts['matrix']}"),
        ("meta", ", ".join(f"{k}={v}" for k, v in facts["meta"].items())),
    ]


def format_states(groups: Sequence[Mapping[str, Any]]) -> str:
    """What is sent of the states of all groups; empty where none are."""
    told = [group["states"] for group in groups if group["states"]]
    if not told:
        return ""
    found = {name: sorted({states[name] for states in told}) for name in ("parameters", "every")}
    sizes, steps = (" or ".join(map(str, numbers)) for numbers in found.values())
    apart = "frame" if steps == "1" else f"{steps} frames"
    return f"{sum(states['sent'] for states in told):,} of {sizes} parameters, one every {apart}"


def format_hidden(groups: Sequence[Mapping[str, Any]]) -> str:
    """How many frames a stream holds and does not show; empty if none."""
    count = sum(group["hidden"] for group in groups)
    stay = "frame stays" if count == 1 else "frames stay"
    return f"{count:,} {stay} in the file, hidden: streams are cut at groups" if count else ""


def format_loopable(groups: Sequence[Mapping[str, Any]]) -> str:
    """How many groups are loopable; empty if none is."""
    count = sum(group["loopable"] for group in groups)
    come = "comes back to where it" if count == 1 else "come back to where they"
    return f"{count} of {len(groups)} groups {come} began" if count else ""


def format_layers(layers: Mapping[str, int]) -> str:
    """Bytes by layer with their shares."""
    total = max(1, sum(layers.values()))
    return ", ".join(f"{name} {size:,} bytes ({size / total:.1%})" for name, size in layers.items())


def format_modes(modes: Mapping[str, int]) -> str:
    """Segments by motion mode."""
    if not modes:
        return "no segments, a single picture"
    total = sum(modes.values())
    return f"{total:,} segments: " + ", ".join(f"{_MODE_NAMES.get(m, m)} {n:,}" for m, n in modes.items())
