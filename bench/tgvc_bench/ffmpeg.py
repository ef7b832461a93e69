"""The ffmpeg binary of the package imageio-ffmpeg: one door for encoders, decoders and VMAF."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from tgvc.errors import BackendError, BackendUnavailableError


@cache
def find_ffmpeg() -> str:
    """Path of the binary.

    Raises:
        BackendUnavailableError: The package imageio-ffmpeg is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise BackendUnavailableError("ffmpeg: imageio-ffmpeg is not installed; pip install 'tgvc[eval]'") from error
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def run_ffmpeg(arguments: list[str], data: bytes = b"", *, cwd: Path | None = None) -> tuple[bytes, str]:
    """Run the binary with ``data`` on its standard input; what it wrote to stdout and to stderr.

    Raises:
        BackendError: It ended with an error; carries the last lines of what it said.
    """
    command = [find_ffmpeg(), "-hide_banner", "-y", *arguments]
    result = subprocess.run(command, input=data, capture_output=True, cwd=cwd, check=False)
    text = result.stderr.decode("utf-8", "replace")
    if result.returncode:
        lines = [line for line in text.splitlines() if "rror" in line] or text.splitlines() or ["no message"]
        raise BackendError(f"ffmpeg {' '.join(arguments)}: exit {result.returncode}: {lines[0].strip()}")
    return result.stdout, text


@cache
def ffmpeg_version() -> str:
    """The first line's version token, such as ``n8.0``."""
    return run_ffmpeg(["-version"])[0].decode().split()[2]
