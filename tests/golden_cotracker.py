"""Runs the reference tensors of the point trackers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from golden import Arrays, Comparison, Meta, compare, compare_outputs
from tgvc.analysis.cotracker_clip import TrackedClip
from tgvc.analysis.cotracker_predictor import (
    SUPPORT_GRID,
    PointFollower,
    between_sizes,
    predict_grid,
    predict_queries,
)
from tgvc.models.tracker import State, TrackerCalls
from tgvc.types import FloatArray
from tgvc_export.cotracker.blocks import CrossBlock, SelfBlock
from tgvc_export.cotracker.features import FeatureNet
from tgvc_export.cotracker.networks import FeatureNetwork, UpdateNetwork, tracker_constants
from tgvc_export.cotracker.tracker import CoTracker3
from tgvc_export.cotracker.tracker2 import CoTracker2

_HEADS = 4  # of the blocks in the files; their sentences say so


def load_weights(module: nn.Module, weights: Arrays) -> nn.Module:
    """Give a module all its parameters; tables, which are buffers, it makes itself."""
    missing, unknown = module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
    if unknown or set(missing) - {"time_emb", "pos_emb"}:
        raise ValueError(f"missing {missing}, unknown {unknown}")
    return module.eval()


def build_tracker(meta: Meta, weights: Arrays) -> CoTracker2 | CoTracker3:
    """The tracker that a file was made with."""
    config, build = meta["config"], meta["config"]["build"]
    resolution = tuple(config.get("model_resolution") or config["interp_shape"])
    if build.get("v2"):
        tracker: CoTracker2 | CoTracker3 = CoTracker2(build["window_len"], resolution=resolution)
    else:
        tracker = CoTracker3(build["window_len"], sliding=not build["offline"], resolution=resolution)
    load_weights(tracker, weights)
    return tracker


def run_model(meta: Meta, arrays: Arrays, weights: Arrays) -> dict[str, Comparison]:
    """A tracker without its predictor, on video at its own size."""
    tracker = build_tracker(meta, weights)
    taps: dict[str, Tensor] = {}
    _record_taps(tracker, taps)
    video, queries = torch.from_numpy(arrays["in.video_u8"]).float(), torch.from_numpy(arrays["in.queries"])
    with torch.no_grad():
        given = tracker(video, queries, meta["config"]["iters"])
    names = ("coords", "visibility", "confidence")
    got = {name: value.numpy() for name, value in zip(names, given, strict=False)}
    result = compare_outputs(meta, arrays, got)
    # what lies in between must agree as well as what comes out; the floor is that of whole networks
    for name, want in arrays.items():
        if name.startswith("tap."):
            result[name] = compare(taps[name].numpy(), want, 1e-4)
    return result


def _record_taps(tracker: CoTracker2 | CoTracker3, taps: dict[str, Tensor]) -> None:
    def features(module: nn.Module, given: Any, out: Tensor) -> None:
        taps.setdefault("tap.fnet_frame0", out[:1])

    def update(module: nn.Module, given: Any, out: Tensor) -> None:
        number = sum(name.startswith("tap.updateformer_delta") for name in taps)
        taps[f"tap.updateformer_delta_iter{number}"] = out[None]
        taps[f"tap.updateformer_input_iter{number}_point0"] = given[0][:1]

    tracker.fnet.register_forward_hook(features)
    tracker.updateformer.register_forward_hook(update)


class TorchCalls:
    """The networks of a tracker bundle, run by torch."""

    def __init__(self, tracker: CoTracker3, **changes: Any) -> None:
        self.constants = replace(tracker_constants(tracker), **changes)
        self._features, self._update = FeatureNetwork(tracker).eval(), UpdateNetwork(tracker).eval()

    def features(self, pictures: FloatArray) -> FloatArray:
        with torch.no_grad():
            return self._features(torch.from_numpy(pictures)).numpy()

    def update(
        self, levels: Sequence[FloatArray], supports: Sequence[FloatArray], state: State, time: FloatArray
    ) -> State:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of arrays that may not be written to: nothing writes
            arrays = [torch.from_numpy(array) for array in (*levels, *supports, *state, time)]
            found = self._update(*arrays)
        return found[0].numpy(), found[1].numpy(), found[2].numpy()


class Recorder:
    """A clip that remembers what was asked and what was found."""

    def __init__(self, clip: PointFollower) -> None:
        self._clip, self.length, self.size = clip, clip.length, clip.size
        self.runs: list[tuple[FloatArray, FloatArray, FloatArray]] = []

    def follow(self, queries: FloatArray, *, backwards: bool = False) -> tuple[FloatArray, FloatArray, FloatArray]:
        found = self._clip.follow(queries, backwards=backwards)
        self.runs.append((queries, found[0], found[1]))
        return found


def run_predictor(
    meta: Meta, arrays: Arrays, weights: Arrays, make_calls: Callable[..., TrackerCalls] = TorchCalls
) -> dict[str, Comparison]:
    """The runtime's predictor around networks that torch runs."""
    config, call = meta["config"], dict(meta["config"]["call"])
    tracker = build_tracker(meta, weights)
    if not isinstance(tracker, CoTracker3):
        raise LookupError("the predictor around CoTracker2 is not part of the runtime")
    calls = make_calls(tracker, iterations=config["iters"], threshold=config["threshold"])
    pictures = np.ascontiguousarray(arrays["in.video_u8"][0].transpose(0, 2, 3, 1))
    own = pictures.shape[2], pictures.shape[1]
    clip = Recorder(TrackedClip(calls, pictures, most_samples=10**9))
    rules = {"backward": call.pop("backward_tracking", False), "threshold": config["threshold"]}
    assert config["support_grid_size"] == SUPPORT_GRID
    if side := call.pop("grid_size", 0):
        mask = arrays["in.segm_mask"][0, 0] > 0 if "in.segm_mask" in arrays else None
        tracks, seen = predict_grid(clip, side, frame=call.pop("grid_query_frame", 0), mask=mask, **rules)
    else:
        queries = arrays["in.queries"][0].copy()
        queries[:, 1:] = between_sizes(queries[:, 1:], own, clip.size)
        tracks, seen = predict_queries(clip, queries, support=True, **rules)
    assert not call, f"options {call} are not known"
    result = compare_outputs(
        meta, arrays, {"tracks": between_sizes(tracks, clip.size, own)[None], "visibility": seen[None]}
    )
    for name, want in arrays.items():
        if name == "tap.model_queries":
            result[name] = compare(clip.runs[0][0][None], want, 1e-3)
        elif name.startswith("tap.raw_visibility_call"):
            result[name] = compare(clip.runs[int(name[-1])][2][None], want, meta["threshold_margin"])
    return result


def _block(
    make: Callable[[int], nn.Module], run: Callable[[nn.Module, dict[str, Tensor]], Tensor]
) -> Callable[[str, Arrays], Callable[[Arrays], npt.NDArray[Any]]]:
    def build(call: str, weights: Arrays) -> Callable[[Arrays], npt.NDArray[Any]]:
        widths = [len(value) for key, value in weights.items() if key.endswith("to_q.bias")]
        module = load_weights(make(widths[0] if widths else 0), weights)

        def run_once(inputs: Arrays) -> npt.NDArray[Any]:
            with torch.no_grad():
                return run(module, {name: torch.from_numpy(value) for name, value in inputs.items()}).numpy()

        return run_once

    return build


RUNNERS = {"cotracker_model": run_model, "cotracker_predictor": run_predictor}
BLOCKS = {
    "ct_attn_block": _block(lambda width: SelfBlock(width, _HEADS), lambda m, i: m(i["x"])),
    "ct_cross_attn_block": _block(lambda width: CrossBlock(width, _HEADS), lambda m, i: m(i["x"], i["context"])),
    # here the roles are exchanged: what is called x is the context
    "ct_cross_attn_block_tinyctx": _block(
        lambda width: CrossBlock(width, _HEADS), lambda m, i: m(i["context"], i["x"])
    ),
    "ct_encoder": _block(lambda _: FeatureNet(), lambda m, i: m(i["x"])),
}
