"""Code and data of a training run in one file, for a machine without a network."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2

PACKAGES = ("engine/tgvc", "kernels/tgvc_kernels", "export/tgvc_export", "train/tgvc_train", "bench/tgvc_bench")
_ENDING = 12 * tarfile.RECORDSIZE  # left for the manifests, the script and the end of the file
_JPEG_QUALITY = 90  # above what shows at the rates that are trained for
_MANIFEST = "file\tmay_train_shipped_weights\n"
# What trains on the other machine, from wherever the file was unpacked; state/ makes the stages go on where they were.
_SCRIPT = """\
#!/bin/sh -e
cd "$(dirname "$0")"
export PYTHONPATH=code/engine:code/kernels:code/export:code/train
train() { python3 -c 'from tgvc_train.cli import main; main()' "$@"; }
device=${1:-cuda}
train prepare --clips clips/MANIFEST.tsv --photos photos/MANIFEST.tsv --data data --processes "$(nproc)"
for stage in autoencoder denoiser grain; do train $stage --data data --run state --device "$device"; done
"""
_CODE = {".py", ".json", ".cu", ".cuh", ".toml", ".md"}


def pack_training(
    root: Path, clips: Sequence[Path], photos: Sequence[Path], extra: Sequence[Path], target: Path, limit: int
) -> tuple[int, int]:
    """Write a tar file with ``code/``, ``clips/``, ``photos/``, ``state/`` and the script ``train.sh``.

    Args:
        root: of the project.
        clips: videos, taken as they are: the smallest ones, as many as fit into half of what code and state leave.
        photos: pictures, stored anew as JPEG, as many as fit into the rest.
        extra: checkpoints to go on from.
        target: the file.
        limit: bytes that it may take.

    Returns:
        Numbers of clips and photographs inside.

    Raises:
        ValueError: code and checkpoints alone exceed the limit.
    """
    shown: list[str] = []
    taken: list[str] = []
    pending = target.with_suffix(".part")
    with tarfile.open(pending, "w") as tar:
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*")):
                if path.suffix in _CODE:
                    tar.add(path, Path("code") / path.relative_to(root))
        for path in extra:
            tar.add(path, Path("state") / path.name)
        if tar.offset > limit:
            pending.unlink()
            raise ValueError(f"pack: code and checkpoints take {tar.offset} bytes, expected at most {limit}")
        half = (tar.offset + limit) // 2
        for path in sorted(clips, key=lambda path: (path.stat().st_size, path.name)):
            if tar.offset + path.stat().st_size + _ENDING > half:
                break
            tar.add(path, Path("clips") / path.name)
            shown.append(path.name)
        for path in photos:
            data = _as_jpeg(path)
            if tar.offset + len(data) + _ENDING > limit:
                break
            taken.append(f"{path.stem}.jpg")
            _add_bytes(tar, f"photos/{taken[-1]}", data)
        for folder, names in (("clips", shown), ("photos", taken)):
            lines = "".join(f"{name}\tyes\n" for name in names)
            _add_bytes(tar, f"{folder}/MANIFEST.tsv", (_MANIFEST + lines).encode())
        _add_bytes(tar, "train.sh", _SCRIPT.encode(), mode=0o755)
    pending.replace(target)
    return len(shown), len(taken)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def _as_jpeg(path: Path) -> bytes:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: cannot be read as a picture")
    made, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not made:
        raise ValueError(f"{path}: cannot be stored as JPEG")
    return data.tobytes()
