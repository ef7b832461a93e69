"""Tiny networks made node by node, whose answers are known, and bundles of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tgvc.backends.spec import Dimension, TensorSpec
from tgvc.diffusion.schedule import SCHEDULE, linear_abar
from tgvc.models.bundle import ModelBundle, write_manifest
from tgvc.models.contract import PLANES, residual_contract
from tgvc.models.manifest import Constants

CHANNELS, CELL_PX = 4, 8
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def tiny_constants(**changes: Any) -> Constants:
    values: dict[str, Any] = {
        "latent_channels": CHANNELS,
        "cell_px": CELL_PX,
        "residual_std": 1.0,
        "detail": 1.0,
        "schedule": SCHEDULE,
        "train_steps": 1000,
        "steps": 2,
        "window": 8,
    }
    return Constants(**(values | changes))


def save_net(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    weights: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write an ONNX file of opset 20."""

    def described(spec: TensorSpec) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], list(spec.shape))

    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [described(s) for s in inputs],
        [described(s) for s in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def tensor(name: str, *shape: Dimension, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def tiny_bundle(
    folder: Path,
    *,
    residual: float = 0.0,
    v_gain: float = 1.0,
    lack: float = 0.0,
    constants: Constants | None = None,
) -> ModelBundle:
    """A bundle whose denoiser is exact for one answer.

    The encoder takes means over cells and mixes them; the decoder adds a fixed mixture of the latents to the planes.
    The denoiser finds that the residual is ``residual`` times the difference of the later key's latents and the base,
    plus nothing of the other inputs.

    Args:
        folder: to write into, made if needed.
        residual: that factor; 0 makes the base the answer.
        lack: energy of texture that the decoder misses everywhere.
        v_gain: what the denoiser's answer is multiplied with; at 0 it takes noise for signal.
        constants: of the manifest.
    """
    constants = constants or tiny_constants()
    channels = constants.latent_channels
    contract = residual_contract(channels, constants.cell_px, constants.maps)
    folder.mkdir(parents=True, exist_ok=True)
    half = constants.cell_px // 2
    rng = np.random.default_rng(5)
    abar = linear_abar(constants.train_steps)
    alphas, sigmas = np.sqrt(abar), np.sqrt(1 - abar)
    node = helper.make_node
    encoder = save_net(
        folder / "encoder.onnx",
        [
            node("AveragePool", ["planes"], ["means"], kernel_shape=[half, half], strides=[half, half]),
            node("Conv", ["means", "mix"], ["latents"], kernel_shape=[1, 1]),
        ],
        *contract["encoder"],
        {"mix": rng.normal(0, 1, (channels, PLANES, 1, 1)).astype(np.float32)},
    )
    denoiser = save_net(
        folder / "denoiser.onnx",
        [
            node("Cast", ["t"], ["index"], to=TensorProto.INT64),
            node("Gather", ["alphas", "index"], ["alpha"]),
            node("Gather", ["sigmas", "index"], ["sigma"]),
            *(node("Reshape", [n, "column"], [n + "5"]) for n in ("alpha", "sigma")),
            node("Split", ["keys"], ["before", "after"], axis=1, num_outputs=2),
            node("Sub", ["after", "base"], ["apart"]),
            node("Mul", ["apart", "residual"], ["wanted"]),
            node("ReduceMean", ["hints", "axes"], ["hint"], keepdims=1),
            node("Mul", ["hint", "zero"], ["nothing"]),
            node("Mul", ["x", "alpha5"], ["signal"]),
            node("Sub", ["signal", "wanted"], ["noisy"]),
            node("Div", ["noisy", "sigma5"], ["clean"]),
            node("Mul", ["clean", "gain"], ["scaled"]),
            node("Add", ["scaled", "nothing"], ["v"]),
        ],
        *contract["denoiser"],
        {
            "alphas": alphas.astype(np.float32),
            "sigmas": sigmas.astype(np.float32),
            "column": np.array([-1, 1, 1, 1, 1], np.int64),
            "residual": np.array(residual, np.float32),
            "zero": np.array(0, np.float32),
            "gain": np.array(v_gain, np.float32),
            "axes": np.array([1], np.int64),
        },
    )
    spread = rng.normal(0, 0.05, (PLANES * half * half, channels, 1, 1)).astype(np.float32)
    decoder = save_net(
        folder / "decoder.onnx",
        [
            node("Conv", ["latents", "spread"], ["fine"], kernel_shape=[1, 1]),
            node("DepthToSpace", ["fine"], ["texture"], blocksize=half),
            node("Add", ["planes", "texture"], ["pictures"]),
            node("ReduceMean", ["planes", "axes"], ["mean"], keepdims=1),
            node("Mul", ["mean", "zero"], ["nothing"]),
            node("Add", ["nothing", "constant"], ["lack"]),
        ],
        *contract["decoder"],
        {
            "spread": spread,
            "axes": np.array([1], np.int64),
            "zero": np.array(0, np.float32),
            "constant": np.array(lack, np.float32),
        },
    )
    return write_manifest(
        folder,
        name="tiny",
        revision="1",
        licence="Apache-2.0",
        constants=constants,
        nets={"encoder": encoder, "denoiser": denoiser, "decoder": decoder},
    )
