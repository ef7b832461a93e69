"""Code and data of a training run in one file, for a machine without a network."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2

PACKAGES = ("engine/tgvc", "kernels/tgvc_kernels", "export/tgvc_export", "train/tgvc_train", "bench/tgvc_bench")
_JPEG_QUALITY = 90  # above what shows at the rates that are trained for
_CODE = {".py", ".json", ".cu", ".cuh", ".toml", ".md"}


def pack_training(
    root: Path, clips: Sequence[Path], photos: Sequence[Path], extra: Sequence[Path], target: Path, limit: int
) -> tuple[int, int]:
    """Write a tar file with ``code/``, ``clips/``, ``photos/`` and ``state/``.

    Args:
        root: of the project.
        clips: videos, taken as they are, all of them.
        photos: pictures, stored anew as JPEG, as many as fit.
        extra: checkpoints to go on from.
        target: the file.
        limit: bytes that it may take.

    Returns:
        Numbers of clips and photographs inside.

    Raises:
        ValueError: code, clips and checkpoints alone exceed the limit.
    """
    taken = 0
    pending = target.with_suffix(".part")
    with tarfile.open(pending, "w") as tar:
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*")):
                if path.suffix in _CODE:
                    tar.add(path, Path("code") / path.relative_to(root))
        for folder, files in (("clips", clips), ("state", extra)):
            for path in files:
                tar.add(path, Path(folder) / path.name)
        if tar.offset > limit:
            pending.unlink()
            raise ValueError(f"pack: code, clips and checkpoints take {tar.offset} bytes, expected at most {limit}")
        for path in photos:
            data = _as_jpeg(path)
            if tar.offset + len(data) + 4 * tarfile.RECORDSIZE > limit:
                break
            entry = tarfile.TarInfo(f"photos/{path.stem}.jpg")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
            taken += 1
    pending.replace(target)
    return len(clips), taken


def _as_jpeg(path: Path) -> bytes:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: cannot be read as a picture")
    made, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not made:
        raise ValueError(f"{path}: cannot be stored as JPEG")
    return data.tobytes()
