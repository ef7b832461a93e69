"""TensorRT as a backend: engines from the store, built where there is none, for exactly this GPU and these shapes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from tgvc.backends.cuda import find_gpu
from tgvc.backends.engines.store import EngineStore
from tgvc.backends.places import full_shape
from tgvc.backends.spec import NetRecord
from tgvc.backends.trt.build import build_plan, parse_network, static_profile
from tgvc.backends.trt.engine import Engine
from tgvc.backends.trt.library import Library, find_library
from tgvc.backends.trt.memory import Scratch
from tgvc.backends.trt.net import TrtNet
from tgvc.errors import BackendUnavailableError
from tgvc.types import OnProgress

PLAN, COMPILED, TIMING = "plan", "compiled kernels", "timing"  # kinds of entries
_log = logging.getLogger("tgvc.backends")


class TrtBackend:
    """TensorRT or TensorRT-RTX; see `tgvc.backends.base.Backend`."""

    def __init__(
        self,
        name: str = "tensorrt",
        *,
        device: int = 0,
        store: EngineStore | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Make sure that a library and a GPU are here.

        Args:
            name: ``tensorrt`` for whichever is installed, ``tensorrt-rtx`` for that one.
            device: ordinal of the GPU.
            store: of engines; the user's by default.
            on_progress: of builds, which take from seconds to many minutes.

        Raises:
            BackendUnavailableError: what is missing, how to get it.
        """
        faults = []
        try:
            library: Library | None = find_library(name)
        except BackendUnavailableError as fault:
            library = None
            faults.append(str(fault).partition(": ")[2])
        try:
            gpu = find_gpu(device)
        except BackendUnavailableError as fault:
            faults.insert(0, str(fault))
        if library is None or faults:
            raise BackendUnavailableError(f"{name}: " + "; ".join(faults))
        self.name, self.version, self.device = name, library.label, f"cuda:{device}"
        self.providers: tuple[str, ...] = (f"{library.label} on {gpu.name}, {gpu.architecture}",)
        self._library, self._gpu, self._store, self._on_progress = library, gpu, store or EngineStore(), on_progress
        self._scratch = Scratch(gpu)

    def load(self, record: NetRecord) -> TrtNet:
        """A network, ready to run; see `tgvc.backends.base.Backend.load`; engines come when shapes are known."""
        record.verify()
        known = any(e.about.get("onnx") == record.sha256 and not e.fault for e in self._store.entries())
        if not known:  # what was built was found to be what its record says
            parse_network(self._library, record)
        return TrtNet(
            record,
            self.device,
            self._gpu,
            self._scratch,
            lambda lengths: self._find_engine(record, lengths),
            lambda engine, lengths: self._keep_compiled(record, engine, lengths),
        )

    def _find_engine(self, record: NetRecord, lengths: Mapping[str, int]) -> Engine:
        shapes = {spec.name: full_shape(spec, lengths) for spec in record.inputs}
        plan = self._find_plan(record, shapes)
        cache = self._store.read(self._about(record, shapes, COMPILED)) or b""
        return Engine(self._library, record, plan, lengths, cache)

    def _find_plan(self, record: NetRecord, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
        about = self._about(record, shapes, PLAN)
        found = self._store.read(about) or self._find_shipped(record, shapes)
        if found is not None:
            return found
        with self._store.lock(about):
            found = self._store.read(about)  # which another process has built meanwhile
            return self._build(record, shapes, about) if found is None else found

    def _build(self, record: NetRecord, shapes: Mapping[str, tuple[int, ...]], about: dict[str, Any]) -> bytes:
        sizes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
        _log.warning("%s: building the engine of %s for %s on %s, once", self.name, record.name, sizes, self._gpu.name)
        began = time.perf_counter()
        timing = about | {"kind": TIMING, "net": "", "onnx": "", "data": "", "shapes": {}}
        with self._gpu.active():
            built = build_plan(
                self._library,
                record,
                static_profile(shapes),
                timing=self._store.read(timing) or b"",
                on_progress=self._on_progress,
            )
        self._store.write(about, built.plan)
        if built.timing:
            with self._store.lock(timing):
                self._store.write(timing, built.timing)
        _log.warning("%s: built %s in %.0f s", self.name, record.name, time.perf_counter() - began)
        return built.plan

    def _find_shipped(self, record: NetRecord, shapes: Mapping[str, tuple[int, ...]]) -> bytes | None:
        """A plan that was built ahead of time for architectures with this one among them."""
        wanted = plan_about(self._library, record, shapes)
        for entry in self._store.entries():
            targets = entry.about.get("targets") or ()
            if self._gpu.architecture in targets and {**entry.about, "targets": []} == wanted:
                return self._store.read(entry.about)
        return None

    def _keep_compiled(self, record: NetRecord, engine: Engine, lengths: Mapping[str, int]) -> None:
        compiled = engine.compiled
        about = self._about(record, {spec.name: full_shape(spec, lengths) for spec in record.inputs}, COMPILED)
        if compiled:
            with self._store.lock(about):
                if self._store.read(about) != compiled:
                    self._store.write(about, compiled)

    def _about(self, record: NetRecord, shapes: Mapping[str, tuple[int, ...]], kind: str) -> dict[str, Any]:
        gpu = {"gpu": self._gpu.name, "architecture": self._gpu.architecture, "driver": self._gpu.driver}
        return plan_about(self._library, record, shapes) | gpu | {"kind": kind}


def plan_about(
    library: Library, record: NetRecord, shapes: Mapping[str, tuple[int, ...]], targets: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a plan is found by: network, library and shapes; without a GPU, the architectures that it was built for."""
    return {
        "kind": PLAN,
        "net": record.name,
        "onnx": record.sha256,
        "data": record.data.sha256 if record.data else "",
        "library": library.label,
        "shapes": {name: list(shape) for name, shape in sorted(shapes.items())},
        "gpu": "",
        "architecture": "",
        "driver": "",
        "targets": list(targets),
    }
