"""Loading of checkpoints: every layout, no code that runs, every fault in one line."""

from __future__ import annotations

import collections
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")

from tgvc_export.checkpoint import DEEPSPEED_PREFIX, open_checkpoint  # noqa: E402
from tgvc_export.checkpoint_records import CheckpointError  # noqa: E402
from tgvc_export.checkpoint_weights import (  # noqa: E402
    Part,
    check_constants,
    fill_module,
    share_out,
    state_shapes,
)


@pytest.fixture
def weights() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)
    return {
        "unet.in.weight": torch.randn(6, 4, generator=generator),
        "unet.in.bias": torch.randn(6, generator=generator),
        "unet.scale": torch.tensor(0.5),
        "vae.norm.weight": torch.randn(3, generator=generator),
        "steps": torch.linspace(0, 1, 10),
    }


def saved(path: Path, value: Any, **how: Any) -> Path:
    torch.save(value, path, **how)
    return path


def refusal(path: Path) -> str:
    """The text of the error that opening a file ends in."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1500
    return text


class Runs:
    """Asks the reader of a pickle to call something."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.call = function, given

    def __reduce__(self) -> Any:
        return self.call


def wrapped(layout: str, weights: dict[str, Any]) -> Any:
    return {
        "flat": weights,
        "ordered": collections.OrderedDict(weights),
        "model": {"model": weights, "step": 7},
        "state_dict": {"state_dict": weights, "epoch": 3, "callbacks": {"EarlyStopping": {"best": 0.5}}, "loops": None},
        "module": {"module": {DEEPSPEED_PREFIX + k: v for k, v in weights.items()}, "dp_world_size": 8},
    }[layout]


@pytest.mark.parametrize("layout", ["flat", "ordered", "model", "state_dict", "module"])
def test_every_layout_of_torch_gives_the_same_tensors(layout: str, weights: dict[str, Any], tmp_path: Path) -> None:
    opened = open_checkpoint(saved(tmp_path / "w.ckpt", wrapped(layout, weights)))
    assert opened.layout == {"ordered": "flat"}.get(layout, layout)
    assert list(opened.tensors) == list(weights)
    assert all(torch.equal(opened.tensors[name], value) for name, value in weights.items())
    assert opened.bytes == sum(value.nbytes for value in weights.values())


def test_safetensors_give_the_same_tensors(weights: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(weights, tmp_path / "w.safetensors")
    opened = open_checkpoint(tmp_path / "w.safetensors")
    assert opened.layout == "safetensors"
    assert all(torch.equal(opened.tensors[name], value) for name, value in weights.items())


def test_parameters_views_and_shared_values_keep_their_values(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    given = {
        "parameter": torch.nn.Parameter(whole.clone()),
        "turned": whole.t(),
        "part": whole[1:3, 2:],
        "same": whole,
        "empty": torch.zeros(0, 3),
        "half": whole.half(),
        "brain": whole.bfloat16(),
    }
    opened = open_checkpoint(saved(tmp_path / "w.pth", given))
    assert all(torch.equal(opened.tensors[name], value) for name, value in given.items())
    assert not opened.tensors["parameter"].requires_grad


def test_the_hash_is_that_of_the_file(weights: dict[str, Any], tmp_path: Path) -> None:
    import hashlib

    path, told = saved(tmp_path / "w.pth", weights), []
    opened = open_checkpoint(path, lambda *state: told.append(state))
    assert opened.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told[-1] == ("verify", path.stat().st_size, path.stat().st_size)


def test_tensors_stay_in_the_file(tmp_path: Path) -> None:
    size = 64 << 20  # large beside whatever Python allocates meanwhile
    path = saved(tmp_path / "w.ckpt", {"state_dict": {"w": torch.zeros(size // 4)}})

    def resident() -> int:
        with open("/proc/self/status", encoding="ascii") as lines:
            return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    open_checkpoint(path)  # whatever is imported once
    before = resident()
    opened = open_checkpoint(path)
    assert opened.bytes == size
    assert float(opened.tensors["w"].sum()) == 0
    assert resident() - before < size / 4


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (lambda marker: Runs(os.system, f"touch {marker}"), "system"),
        (lambda marker: Runs(eval, f"open({str(marker)!r}, 'w')"), "builtins.eval"),
        (lambda marker: Runs(exec, f"open({str(marker)!r}, 'w')"), "builtins.exec"),
        (lambda marker: Runs(open, str(marker), "w"), "open"),
        (lambda marker: Runs(getattr, os, "system"), "builtins.getattr"),
        (lambda marker: Runs(Path.touch, marker), "getattr"),
    ],
)
@pytest.mark.parametrize("place", ["metadata", "weights"])
def test_code_in_a_pickle_is_named_and_never_runs(
    code: Any, name: str, place: str, weights: dict[str, Any], tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    bad = code(marker)
    if name == "builtins.getattr":  # a module is no value of a pickle
        bad = Runs(getattr, "text", "upper")
    state = {"state_dict": weights, "hook": bad} if place == "metadata" else {"state_dict": {**weights, "bad": bad}}
    text = refusal(saved(tmp_path / "w.ckpt", state))
    assert name in text
    assert "nothing ran" in text
    assert not marker.exists()


def test_code_in_a_bare_pickle_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Runs(os.system, f"touch {marker}")))
    assert "neither a zip file of torch.save nor safetensors" in refusal(path)
    assert not marker.exists()


def test_code_hidden_in_the_metadata_of_a_known_library_never_runs(
    weights: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    marker = tmp_path / "ran"
    library = types.ModuleType("pytorch_lightning.callbacks")
    calls = []

    def innocent(*given: Any) -> None:
        calls.append(given)
        marker.touch()

    innocent.__module__, innocent.__qualname__ = library.__name__, "innocent"
    library.innocent = innocent  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
    monkeypatch.setitem(sys.modules, library.__name__, library)
    path = saved(tmp_path / "w.ckpt", {"state_dict": weights, "hook": Runs(innocent, 1)})
    opened = open_checkpoint(path)  # a stand-in took its place, although the library is there
    assert list(opened.tensors) == list(weights)
    assert not calls
    assert not marker.exists()


def test_metadata_of_training_libraries_needs_no_library(
    weights: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

    class Callback:
        def __init__(self) -> None:
            self.best = 0.5

    Callback.__module__, Callback.__qualname__ = "pytorch_lightning.callbacks", "Callback"
    sys.modules["pytorch_lightning.callbacks"].Callback = Callback  # type: ignore[attr-defined]
    path = saved(tmp_path / "w.ckpt", {"callbacks": {Callback: {"best": 0.5}}, "it": Callback(), "state_dict": weights})
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.delitem(sys.modules, name)
    assert list(open_checkpoint(path).tensors) == list(weights)
    assert "pytorch_lightning" not in sys.modules


def test_a_file_cut_off_anywhere_is_refused(weights: dict[str, Any], tmp_path: Path) -> None:
    data = saved(tmp_path / "w.ckpt", {"state_dict": weights}).read_bytes()
    path = tmp_path / "cut.ckpt"
    for length in {*range(0, len(data), 97), *range(len(data) - 30, len(data)), 1, 4, 30}:
        path.write_bytes(data[:length])
        refusal(path)


def test_a_safetensors_file_cut_off_anywhere_is_refused(weights: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(weights, tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        refusal(path)


def test_a_changed_byte_is_refused_or_changes_nothing(weights: dict[str, Any], tmp_path: Path) -> None:
    data = bytearray(saved(tmp_path / "w.ckpt", {"state_dict": weights}).read_bytes())
    path, refused = tmp_path / "bad.ckpt", 0
    with zipfile.ZipFile(tmp_path / "w.ckpt") as archive:
        dense = range(archive.start_dir, len(data))
    for place in sorted({*range(0, len(data), 23), *dense[::5]}):
        data[place] ^= 0x5A
        path.write_bytes(data)
        try:
            opened = open_checkpoint(path)
        except CheckpointError as fault:
            refused += 1
            assert "\n" not in str(fault)  # noqa: PT017 (both outcomes are allowed)
        else:
            assert all(torch.equal(opened.tensors[name], value) for name, value in weights.items())
        data[place] ^= 0x5A
    assert refused > 50


def test_a_damaged_value_is_refused(weights: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "w.ckpt", weights)
    with zipfile.ZipFile(path) as archive:
        record = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
    data = bytearray(path.read_bytes())
    start = record.header_offset + 30 + sum(struct.unpack_from("<HH", data, record.header_offset + 26))
    data[start + 2] ^= 1
    path.write_bytes(data)
    assert "record w/data/0 is damaged" in refusal(path)


def rebuilt(source: Path, target: Path, change: Any, compression: int = zipfile.ZIP_STORED) -> Path:
    """A copy of a zip file whose records went through a function of name and bytes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            for name, data in change(entry.filename, old.read(entry)):
                new.writestr(name, data)
    return target


def test_zip_files_that_torch_did_not_write_are_refused(weights: dict[str, Any], tmp_path: Path) -> None:
    good = saved(tmp_path / "w.ckpt", weights)
    bomb = rebuilt(good, tmp_path / "bomb.ckpt", lambda n, d: [(n, d)], zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(bomb)
    large = rebuilt(
        good,
        tmp_path / "large.ckpt",
        lambda n, d: [(n, b"\0" * (200 << 20) if n.endswith("/0") else d)],
        zipfile.ZIP_DEFLATED,
    )
    assert large.stat().st_size < 1 << 20
    assert "compressed" in refusal(large)
    short = rebuilt(good, tmp_path / "short.ckpt", lambda n, d: [(n, d[:-4] if n.endswith("data/0") else d)])
    assert "lie elsewhere or are larger than its records: unet.in.weight" in refusal(short)
    lost = rebuilt(good, tmp_path / "lost.ckpt", lambda n, d: [] if n.endswith("data/1") else [(n, d)])
    assert "unet.in.bias" in refusal(lost)
    bare = rebuilt(good, tmp_path / "bare.ckpt", lambda n, d: [] if n.endswith("data.pkl") else [(n, d)])
    assert "data.pkl" in refusal(bare)
    folders = rebuilt(good, tmp_path / "folders.ckpt", lambda n, d: [(n, d), ("other/" + n, d)])
    assert "not one of torch.save" in refusal(folders)
    with zipfile.ZipFile(tmp_path / "empty.ckpt", "w"):
        pass
    refusal(tmp_path / "empty.ckpt")
    with zipfile.ZipFile(tmp_path / "text.ckpt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "not one of torch.save" in refusal(tmp_path / "text.ckpt")


def test_other_files_are_refused(weights: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "text.ckpt").write_text("no weights here, but a text that is long enough to be looked at twice")
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>404</html>" * 40)
    assert "empty" in refusal(tmp_path / "empty.ckpt")
    assert "neither" in refusal(tmp_path / "text.ckpt")
    assert "neither" in refusal(tmp_path / "page.pth")
    assert "not a file" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "none.ckpt")
    assert "no such file" in refusal(Path("a\0b"))
    old = saved(tmp_path / "old.pth", weights, _use_new_zipfile_serialization=False)
    assert "torch before 1.6" in refusal(old)
    assert "expected tensors by name" in refusal(saved(tmp_path / "list.pth", [1, 2]))
    assert "holds nothing" in refusal(saved(tmp_path / "none.pth", {"state_dict": {}}))
    assert "not a tensor: note" in refusal(saved(tmp_path / "text.pth", {**weights, "note": "text"}))
    assert "not texts" in refusal(saved(tmp_path / "number.pth", {3: torch.zeros(1)}))
    assert "prefix _forward_module." in refusal(saved(tmp_path / "ds.ckpt", {"module": weights}))


PARTS = {
    "unet": Part("unet.", {"in.weight": (6, 4), "in.bias": (6,), "scale": ()}),
    "vae": Part("vae.", {"norm.weight": (3,)}, frozenset({"logvar"})),
}


def test_tensors_are_shared_out_by_their_prefixes(weights: dict[str, Any], tmp_path: Path) -> None:
    opened = open_checkpoint(saved(tmp_path / "w.ckpt", {**weights, "vae.logvar": torch.zeros(1)}))
    shared = share_out(opened, PARTS, ["steps"])
    assert {name: sorted(tensors) for name, tensors in shared.items()} == {
        "unet": ["in.bias", "in.weight", "scale"],
        "vae": ["norm.weight"],
    }
    assert shared["unet"]["in.weight"].data_ptr() == opened.tensors["unet.in.weight"].data_ptr()


def test_all_faults_of_the_names_are_in_one_error(weights: dict[str, Any], tmp_path: Path) -> None:
    del weights["unet.in.bias"]
    weights |= {f"ema.{n:04d}": torch.zeros(1) for n in range(2000)}
    weights["unet.in.weight"] = torch.zeros(6, 5)
    weights["vae.norm.weight"] = torch.zeros(3, dtype=torch.int64)
    opened = open_checkpoint(saved(tmp_path / "w.ckpt", weights))
    with pytest.raises(CheckpointError) as caught:
        share_out(opened, PARTS)
    text = str(caught.value)
    assert "1 missing: unet.in.bias" in text
    assert "1 of another shape: unet.in.weight (6, 5), expected (6, 4)" in text
    assert "1 not of float32, float16 or bfloat16: vae.norm.weight int64 (3,)" in text
    assert "2001 unexpected: steps, ema.0000" in text
    assert "1995 more" in text
    assert len(text) < 1000


def test_a_module_on_meta_is_filled_without_a_copy(tmp_path: Path) -> None:
    with torch.device("meta"):
        module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6))
    source = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6)).eval()
    with torch.no_grad():
        source[1].running_mean += 1
    opened = open_checkpoint(saved(tmp_path / "w.pth", source.state_dict()))
    floats = {k: v for k, v in opened.tensors.items() if v.is_floating_point()}
    tensors = {**floats, "1.num_batches_tracked": torch.tensor(0)}
    filled = fill_module(module, tensors)
    x = torch.randn(5, 4)
    assert torch.equal(filled(x), source(x))
    assert filled[0].weight.data_ptr() == opened.tensors["0.weight"].data_ptr()
    assert not filled.training
    assert not any(p.requires_grad for p in filled.parameters())
    assert state_shapes(module)["0.weight"] == (6, 4)


def test_halves_are_made_tensor_by_tensor_and_must_hold_the_values() -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(2, 2)
    filled = fill_module(module, {"weight": torch.eye(2), "bias": torch.zeros(2)}, torch.float16)
    assert filled.weight.dtype == torch.float16
    with pytest.raises(CheckpointError, match="1 tensors hold values that do not fit in float16: weight"):
        fill_module(module, {"weight": torch.eye(2) * 1e6, "bias": torch.zeros(2)}, torch.float16)
    with pytest.raises(CheckpointError, match="NaN or infinite: bias"):
        fill_module(module, {"weight": torch.eye(2), "bias": torch.tensor([0.0, float("nan")])})
    names = {"weight": "model.out.weight", "bias": "model.out.bias"}
    with pytest.raises(CheckpointError, match=r"NaN or infinite: model\.out\.bias"):
        fill_module(module, {"weight": torch.eye(2), "bias": torch.tensor([0.0, float("nan")])}, names=names)


def test_constants_of_another_training_are_refused(weights: dict[str, Any], tmp_path: Path) -> None:
    opened = open_checkpoint(saved(tmp_path / "w.ckpt", weights))
    ramp = [n / 9 for n in range(10)]
    check_constants(opened, {"steps": ramp, "not there": ramp})
    with pytest.raises(CheckpointError, match=r"steps differs by 0\.1.*"):
        check_constants(opened, {"steps": [*ramp[:-1], 1.1]})
    with pytest.raises(CheckpointError, match=r"steps is float32 \(10,\), expected float32 \(3,\)"):
        check_constants(opened, {"steps": [0, 1, 2]})
    # halves round to 1/2048 of a value
    half = open_checkpoint(saved(tmp_path / "h.ckpt", {"steps": weights["steps"].half()}))
    check_constants(half, {"steps": ramp})
