"""The UNet and the VAE's decoder in torch: as they are, as a CUDA graph, and compiled; always the same numbers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.models.contract import UNET, VAE_DECODER
from tgvc_bench.gpu.sizes import HALVES, Sizes, build_module, hollow_module, make_inputs, reference_output
from tgvc_bench.gpu.timing import TorchTimer, measure_energy
from tgvc_bench.protocol.agreement import compare_relative, require
from tgvc_bench.protocol.latency import summarise_runs
from tgvc_bench.protocol.schema import SINGLE_STREAM
from tgvc_bench.records import shorten
from tgvc_bench.timed.efficiency import describe_cost
from tgvc_bench.timed.module_cost import measure_module

EAGER, GRAPH, COMPILED = "torch eager", "torch eager in a CUDA graph", "torch.compile in a CUDA graph"
NAMES = {UNET: "UNet forward", VAE_DECODER: "KL-VAE decode"}


def measure_network(
    sizes: Sizes, folder: Path, have: frozenset[str], net: str, batches: tuple[int, ...], *, compiled: bool
) -> Iterator[dict[str, Any]]:
    """Rows of a network at some batches, either compiled or in both ways that need no compiler.

    Args:
        sizes: of everything.
        folder: for what is computed once.
        have: keys of rows that are there.
        net: `UNET` or `VAE_DECODER`.
        batches: runs of the UNet, pictures of the VAE.
        compiled: through `torch.compile`, which takes minutes.
    """
    import torch

    ways = (COMPILED,) if compiled else (EAGER, GRAPH)
    wanted = [(way, batch) for batch in batches for way in ways if key_of(net, way, batch) not in have]
    if not wanted:
        return
    ceilings = sizes.ceilings()
    yield {"ceilings": ceilings.as_dict()}
    timer, kind = TorchTimer(sizes), getattr(torch, sizes.dtype)
    module = build_module(sizes, net)
    references = {batch: reference_output(sizes, net, batch, folder, module) for _, batch in wanted}
    module = module.to(sizes.device, kind)
    gc.collect()
    costs = {}
    for batch in references:
        hollow = {name: value.to("meta", kind) for name, value in make_inputs(sizes, net, batch).items()}
        costs[batch] = measure_module(hollow_module(sizes, net).to(kind), hollow, net)
    run_module = torch.compile(module, backend=sizes.compiler, dynamic=False) if compiled else module
    for way, batch in wanted:
        given = {name: value.to(sizes.device, kind) for name, value in make_inputs(sizes, net, batch).items()}

        def forward(given: dict[str, Any] = given) -> Any:
            with torch.no_grad():
                return run_module(**given)

        call: Callable[[], object]
        if way == EAGER:
            call, result = forward, forward()
        else:
            call, result = timer.record(forward)
            result.fill_(float("nan"))  # what is compared has been written by the replay
            call()
        timer.wait()
        found = np.asarray(result.float().cpu())
        agreement = require(key_of(net, way, batch), compare_relative(found, references[batch], HALVES))
        seconds = timer.measure(call, sizes.budget)
        best = min(seconds)
        yield {
            "key": key_of(net, way, batch),
            "name": NAMES[net],
            "scenario": SINGLE_STREAM,
            "backend": f"{way}, torch {torch.__version__}",
            "device": sizes.device,
            "precision": sizes.dtype,
            "agreement": agreement,
            "batch": batch,
            "latency": summarise_runs(seconds),
            "warm_up": {"runs": 6, "settled": False},
            "kernels": len(costs[batch].operations),
            "peak_bytes": timer.peak_bytes(),
            "per_item_s": shorten(best / batch, 4),
            **describe_cost(costs[batch], best, ceilings),
            **measure_energy(sizes, call, timer.wait),
        }
        del result, given, call


def key_of(net: str, way: str, batch: int) -> str:
    """The name of a row."""
    return f"{net} {way} batch {batch}"
