"""Which run a row comes from: its command, its machine and the versions of what it used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tgvc.doctor import find_version
from tgvc_bench.machine import describe_machine, read_versions
from tgvc_bench.protocol.ceilings import Ceilings

_PACKAGES = (
    "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "tensorrt-rtx-cu13", "tensorrt_rtx", "cupy-cuda13x",
    "cupy-cuda12x", "triton", "nvidia-ml-py",
)  # fmt: skip


def describe_run(command: str, ceilings: Ceilings | None = None) -> tuple[str, dict[str, Any]]:
    """A short name of this run, made of what it holds, and what a record says of it."""
    versions = dict(read_versions(ffmpeg=False))
    versions |= {name: version for name in _PACKAGES if (version := find_version(name))}
    run: dict[str, Any] = {"command": command, "machine": describe_machine(), "versions": versions}
    if gpus := describe_gpus():
        run["machine"]["gpus"] = gpus
    if ceilings is not None:
        run["ceilings"] = ceilings.as_dict()
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    return digest[:8], run


def describe_gpus() -> list[str]:
    """Names of the GPUs and their drivers' version, as the driver gives them; empty without any."""
    from tgvc.doctor import find_gpus

    found = find_gpus()
    devices: Sequence[Any] = found.get("devices", []) if isinstance(found, dict) else []
    return [f"{device['name']}, compute capability {device['capability']}" for device in devices]
