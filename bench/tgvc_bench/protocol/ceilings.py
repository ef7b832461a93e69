"""What a machine can do at most, measured in the same run: one large product of matrices, one large copy.

On a CPU a process of its own computes both, because the number of threads of a BLAS is settled when it is loaded. There
seconds of the processor count, divided by the threads, so that a busy machine has the ceilings of an idle one.
Random numbers, never zeros: those can run faster.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from tgvc.errors import BackendError
from tgvc_bench.protocol.children import child_environment, last_line
from tgvc_bench.protocol.latency import time_runs
from tgvc_bench.records import shorten

SIDE, COPIED, REPEATS = 2048, 1 << 28, 7  # rows of a matrix; bytes; runs, of which the fastest counts
GPU_SIDE, GPU_COPIED = 8192, 1 << 32
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Ceilings:
    """``flop_per_s`` of a product of matrices of ``precision``; ``bytes_per_s`` of a copy, read and written bytes."""

    flop_per_s: float
    bytes_per_s: float
    precision: str
    how: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {
            "flop_per_s": shorten(self.flop_per_s, 4),
            "bytes_per_s": shorten(self.bytes_per_s, 4),
            "precision": self.precision,
            "how": self.how,
        }


def measure_host(threads: int, side: int = SIDE, copied: int = COPIED) -> Ceilings:
    """Ceilings of so many threads of the processor, float32.

    Raises:
        BackendError: the process failed; carries the last line of what it said.
    """
    environment = child_environment(dict.fromkeys(_THREADS, str(threads)))
    words = [sys.executable, "-m", __name__, str(side), str(copied), str(threads)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BackendError(f"ceilings: the process ended with exit status {done.returncode}: {last_line(done.stderr)}")
    return Ceilings(**json.loads(done.stdout.splitlines()[-1]))


def _compute_host(side: int, copied: int, threads: int) -> dict[str, Any]:
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((side, side), np.float32) for _ in range(2))
    product = np.empty_like(a)
    source = rng.integers(0, 1 << 62, max(threads, copied // 8), np.int64)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))

        spent = [_busy_seconds(call, threads) for call in (lambda: np.matmul(a, b, out=product), copy)]
    flop, library = 2 * side**3 / spent[0], "NumPy"
    if find_spec("torch") is not None:  # another BLAS, which may be twice as fast
        import torch

        torch.set_num_threads(threads)
        left, right, out = (torch.from_numpy(each) for each in (a, b, product))
        again = _busy_seconds(lambda: torch.matmul(left, right, out=out), threads)
        flop, library = max((flop, library), (2 * side**3 / again, f"torch {torch.__version__}"))
    return {
        "flop_per_s": flop,
        "bytes_per_s": 2 * source.nbytes / spent[1],
        "precision": "float32",
        "how": f"{threads} threads: {side}^3 product by {library}, copy of {source.nbytes} bytes by NumPy, "
        f"best of {REPEATS} by seconds of the processor",
    }


def _busy_seconds(call: Callable[[], object], threads: int) -> float:
    """The least of several runs, in seconds of the processor per thread: what others do meanwhile is no part of it."""
    call()
    return min(time_runs(call, REPEATS, time.process_time)) / threads


def measure_torch(
    device: str = "cuda", dtype: str = "bfloat16", side: int = GPU_SIDE, copied: int = GPU_COPIED
) -> Ceilings:
    """Ceilings of a device by torch, with its clock on the host around runs that are waited for.

    Args:
        device: of torch, as ``cuda`` or ``cpu``.
        dtype: of the matrices, by its name in torch.
        side: rows of a matrix.
        copied: bytes.
    """
    import torch

    kind = getattr(torch, dtype)
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    source = torch.randint(0, 1 << 62, (copied // 8,), device=device)
    target = torch.empty_like(source)
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)

    def rate(call: Any, amount: float) -> float:
        many = 10 if device.startswith("cuda") else 1  # so that waiting for the device is no part of it

        def run() -> None:
            for _ in range(many):
                call()
            wait()

        return amount * many / min(time_runs(run, REPEATS + 1)[1:])

    product = torch.empty_like(a)
    flop = rate(lambda: torch.matmul(a, b, out=product), 2 * side**3)
    moved = rate(lambda: target.copy_(source), 2 * source.numel() * 8)
    how = f"torch {torch.__version__} on {device}: {side}^3 product, copy of {source.numel() * 8} bytes"
    return Ceilings(flop, moved, dtype, f"{how}, best of {REPEATS}")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_compute_host(*map(int, sys.argv[1:4]))) + "\n")
