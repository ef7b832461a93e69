"""Networks whose weights one file cannot hold: the graph in one file, the weights in another beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper

from tgvc.backends.spec import TensorSpec
from tgvc_export.graph_rules import check_graph, tidy_graph
from tgvc_export.precision import hide_behind_cast, round_to_half, weights_of_layers

MOST_BYTES = (1 << 31) - (1 << 26)  # of weights beside their graph in one file
_ALIGNED = 4096  # a page, so that the file can be mapped


def save_large(
    program: Any,
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    halves: bool,
    opset: int,
    static: bool,
) -> tuple[Path, Path]:
    """Write what torch exported as two files, without holding the weights a second time.

    Args:
        program: of ``torch.onnx.export``.
        path: of the graph; the weights go to the same name with ``.data`` behind it.
        inputs: specs of the inputs.
        outputs: specs of the outputs.
        halves: store float32 weights of layers as float16, each behind a Cast.
        opset: that the graph has to be of.
        static: see `tgvc_export.graph_rules.check_graph`.

    Returns:
        Both files.

    Raises:
        ExportError: see `tgvc_export.graph_rules.check_graph`.
    """
    data = path.with_name(path.name + ".data")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as made:
        work = Path(made) / path.name
        program.save(str(work), external_data=True)
        model = onnx.load(work, load_external_data=False)
        tidy_graph(model, inputs, outputs)
        _move_weights(model, work.parent, work.parent / "weights", data.name, halves)
        check_graph(model, inputs, outputs, opset=opset, static=static, folder=path.parent)
        (work.parent / "weights").replace(data)
        path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path), full_check=False)
    return path, data


def _move_weights(model: onnx.ModelProto, folder: Path, target: Path, name: str, halves: bool) -> None:
    """Write all weights anew, one after another: pages aligned, layers in halves if wanted."""
    narrow = {weight.name for weight in weights_of_layers(model)} if halves else set()
    casts = []
    with target.open("wb") as stream:
        for weight in model.graph.initializer:
            if not weight.external_data:
                continue
            values = _map_weight(weight, folder)
            if weight.name in narrow:
                values = round_to_half(weight.name, values)
                weight.data_type = TensorProto.FLOAT16
                casts.append(hide_behind_cast(weight))
            stream.write(b"\0" * (-stream.tell() % _ALIGNED))
            del weight.external_data[:]
            where = {"location": name, "offset": str(stream.tell()), "length": str(values.nbytes)}
            for key, value in where.items():
                weight.external_data.add(key=key, value=value)
            np.ascontiguousarray(values).tofile(stream)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _map_weight(weight: onnx.TensorProto, folder: Path) -> np.ndarray:
    info = external_data_helper.ExternalDataInfo(weight)
    kind = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)
    shape = tuple(weight.dims)
    return np.memmap(folder / info.location, dtype=kind, mode="r", offset=info.offset or 0, shape=shape)
