"""Scratch memory that engines share: those that are launched on the same stream never run at the same time."""

from __future__ import annotations

import threading

from tgvc.backends.cuda import Gpu


class Scratch:
    """One block per stream, as large as the largest engine on it needs.

    Blocks are never moved or given back before `close`: a recorded graph keeps their addresses. A larger engine gets a
    larger block beside the old one.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._blocks: dict[int, list[tuple[int, int]]] = {}  # stream -> (size, address), ascending
        self._lock = threading.Lock()

    def find(self, stream: int, size: int) -> int:
        """Address of at least ``size`` bytes for engines on a stream; 0 where none are needed."""
        if size < 1:
            return 0
        with self._lock:
            blocks = self._blocks.setdefault(stream, [])
            for held, address in blocks:
                if held >= size:
                    return address
            blocks.append((size, self._gpu.allocate(size)))
            return blocks[-1][1]

    @property
    def size(self) -> int:
        """Bytes held for all streams."""
        return sum(size for blocks in self._blocks.values() for size, _ in blocks)

    def close(self) -> None:
        """Give all of it back, once the device has come to rest."""
        with self._lock:
            self._gpu.wait()
            for blocks in self._blocks.values():
                for _, address in blocks:
                    self._gpu.free(address)
            self._blocks.clear()
