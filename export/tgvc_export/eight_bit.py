"""The main network of a bundle with its matrix products in eight bits, where a measurement allows it.

Weights become int8, a scale per column; what they are multiplied with is brought to eight bits as it comes. Only ONNX
Runtime on a CPU runs such networks: TensorRT parses none of these operators. Convolutions stay as they are: ONNX
Runtime multiplies them slower in eight bits than in float32.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from tgvc.backends.base import load_backend
from tgvc.backends.spec import NetRecord, split_dimension
from tgvc.errors import BundleError
from tgvc.models.bundle import DATA_ENDING, ModelBundle, load_bundle, write_manifest
from tgvc.models.constants import INTERPOLATION, RESIDUAL
from tgvc.models.contract import DENOISER, UNET
from tgvc_export.check import measure_error
from tgvc_export.graph_rules import ExportError

MAIN_NETS: Mapping[str, str] = {INTERPOLATION: UNET, RESIDUAL: DENOISER}
LIMIT = 0.05  # of the relative error: about twice what was seen where it worked
PRECISION = "int8 weights of matrix products, the rest as it was"
_PRODUCTS = ("MatMul", "Gemm")
_LENGTHS = {"N": 1, "B": 1, "T": 16, "M": 16, "h": 16, "w": 24}  # of the inputs that the error is measured on
_TIMESTEP = {"t": 500.0}  # of kind residual
_STALE = ("fast",)  # notes about what the network gave before
Array = npt.NDArray[Any]


def quantise_bundle(source: str, output: Path, *, limit: float = LIMIT, seed: int = 0) -> ModelBundle:
    """A bundle like another one, whose UNet or denoiser multiplies matrices in eight bits.

    Args:
        source: name or folder of a bundle of kind ``interpolation`` or ``residual``, exported in fp32.
        output: folder to write into, made if needed.
        limit: of the error against the network as it was, root of the mean square over that of its output, on normal
            numbers of a seed. What a network makes of real pictures has to be measured besides: `tgvc-bench fast`.
        seed: of these numbers.

    Returns:
        The bundle; its manifest says the error and the seconds of the processor before and after.

    Raises:
        BundleError: another kind of bundle, or one whose network has no such products.
        ExportError: the error is above the limit; nothing is written.
    """
    bundle = load_bundle(source)
    name = MAIN_NETS.get(bundle.kind, "")
    if not name:
        raise BundleError(f"bundle {bundle.label}: kind {bundle.kind}, expected {' or '.join(MAIN_NETS)}")
    if bundle.folder.resolve() == output.resolve():
        raise BundleError(f"{output}: is the bundle itself; expected another folder")
    record = bundle.nets[name]
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as workshop:
        made = Path(workshop) / record.path.name
        count = _quantise(record, made, bundle)
        inputs = random_inputs(record, seed)
        want, before = _run(record, inputs)
        found, after = _run(_described(record, made), inputs)
        worst = {k: max(measure_error(found[n], want[n])[k] for n in want) for k in ("max_abs", "relative_rms")}
        if not worst["relative_rms"] <= limit:
            raise ExportError(
                f"{name}: error {worst['relative_rms']:.3g} in eight bits, at most {limit:g} is allowed; keep float32"
            )
        _copy_rest(bundle, name, output)
        for path in sorted(Path(workshop).iterdir()):
            path.replace(output / path.name)
    notes = {key: value for key, value in bundle.notes.items() if key not in _STALE}
    notes["eight_bit"] = {"network": name, "products": count, "cpu_s_before": before, "cpu_s_after": after}
    errors = {n: dict(r.error) for n, r in bundle.nets.items()}
    errors[name] = {f"eight_bit_{kind}": float(f"{value:.3g}") for kind, value in worst.items()}
    return write_manifest(
        output,
        name=bundle.name,
        revision=f"{bundle.revision}-int8"[:64],
        licence=bundle.licence,
        constants=bundle.constants,
        nets={n: output / r.path.name for n, r in bundle.nets.items()},
        tensors={n: (r.inputs, r.outputs) for n, r in bundle.nets.items()},
        precision=PRECISION,
        errors=errors,
        notes=notes,
        files={n: output / f.path.name for n, f in bundle.files.items()},
    )


def random_inputs(record: NetRecord, seed: int) -> dict[str, Array]:
    """Normal numbers for the inputs of a network, those that are told a number excepted."""
    chance = np.random.default_rng(seed)
    inputs = {}
    for spec in record.inputs:
        parts = [split_dimension(dimension) for dimension in spec.shape]
        shape = [factor * _LENGTHS[symbol] if symbol else factor for factor, symbol in parts]
        values = np.full(shape, _TIMESTEP[spec.name]) if spec.name in _TIMESTEP else chance.standard_normal(shape)
        inputs[spec.name] = values.astype(spec.dtype)
    return inputs


def _quantise(record: NetRecord, path: Path, bundle: ModelBundle) -> int:
    """Write the network in eight bits; returns how many products became so."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(record.path))
    constant = {tensor.name for tensor in model.graph.initializer}
    count = sum(n.op_type in _PRODUCTS and n.input[1] in constant for n in model.graph.node)
    if not count:
        raise BundleError(
            f"bundle {bundle.label}: {record.name} has no matrix product with float32 weights; eight bits gain nothing "
            "for convolutions, and weights stored in halves have to be exported as fp32 first"
        )
    del model.graph.value_info[:]  # torch's shapes and those that the tool infers need not agree
    quantize_dynamic(
        model,
        str(path),
        op_types_to_quantize=list(_PRODUCTS),
        per_channel=True,
        weight_type=QuantType.QInt8,  # unsigned weights were measured to gain no time
        use_external_data_format=record.data is not None,
        extra_options={"MatMulConstBOnly": True},
    )
    return count


def _described(record: NetRecord, path: Path) -> NetRecord:
    from tgvc_export.check import describe_file

    return describe_file(record.name, path, (record.inputs, record.outputs))


def _run(record: NetRecord, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], float]:
    """Outputs, and the seconds of the processor that the second run took."""
    net = load_backend("onnxruntime", threads=1).load(record)
    net.run(**inputs)
    began = time.process_time()
    outputs = net.run(**inputs)
    return outputs, float(f"{time.process_time() - began:.3g}")


def _copy_rest(bundle: ModelBundle, name: str, output: Path) -> None:
    for other, record in bundle.nets.items():
        for path in record.paths if other != name else ():
            shutil.copyfile(path, output / path.name)
    for file in bundle.files.values():
        shutil.copyfile(file.path, output / file.path.name)
    (output / (bundle.nets[name].path.name + DATA_ENDING)).unlink(missing_ok=True)
