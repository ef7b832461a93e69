"""Published weights become bundles by one command, or one line says why not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

import tgvc.cli.weights  # noqa: E402
from checkpoint_samples import (  # noqa: E402
    INTERPOLATION,
    TRACKER,
    interpolation_state,
    tracker_state,
    write_json,
)
from tgvc.backends.base import load_backend  # noqa: E402
from tgvc.fetch import WEIGHTS  # noqa: E402
from tgvc.models.bundle import load_bundle  # noqa: E402
from tgvc.models.constants import InterpolationConstants  # noqa: E402
from tgvc.models.interpolation import InterpolationNetworks  # noqa: E402
from tgvc_export.checkpoint_weights import fill_module  # noqa: E402
from tgvc_export.command import describe_source, export  # noqa: E402
from tgvc_export.dynamicrafter.published import PREFIXES, parse_sizes  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and stderr of the command."""
    with pytest.raises(SystemExit) as end:
        export.main([str(word) for word in words], prog_name="tgvc export")
    told = capsys.readouterr()
    return int(end.value.code or 0), told.out, told.err


@pytest.fixture(scope="module")
def interpolation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, torch.Tensor]]:
    """A bundle that the command made of a synthetic checkpoint, its report, and the tensors of the checkpoint."""
    folder = tmp_path_factory.mktemp("interpolation")
    state = interpolation_state()
    torch.save({"module": {"_forward_module." + name: value for name, value in state.items()}}, folder / "model.ckpt")
    config = write_json(folder / "config.json", INTERPOLATION)
    words = ["dynamicrafter-512-interp", "--checkpoint", folder / "model.ckpt", "--config", config]
    done = subprocess.run(
        [sys.executable, "-m", "tgvc_export", *map(str, words), "-o", str(folder / "bundle"), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    return folder / "bundle", json.loads(done.stdout), state


@pytest.mark.slow
def test_a_checkpoint_goes_through_the_whole_command(
    interpolation: tuple[Path, dict[str, Any], dict[str, torch.Tensor]],
) -> None:
    folder, report, _ = interpolation
    bundle = load_bundle(folder)
    assert bundle.kind == "interpolation"
    assert bundle.label == report["label"]
    assert set(bundle.nets) == {
        "time", "context", "unet", "vae_encoder", "vae_decoder", "image_tower", "text_tower",
    }  # fmt: skip
    assert re.fullmatch("[0-9a-f]{12}-fp32", bundle.revision)
    assert bundle.notes["source"] == "model.ckpt, which is not a published file"
    assert bundle.notes["source_sha256"].startswith(bundle.revision[:12])
    assert "non-commercial" in bundle.notes["terms"]
    # sums in another order, a few dozen layers deep; context is one product of sixteen numbers each
    errors = {name: record.error["relative_rms"] for name, record in bundle.nets.items()}
    assert max(errors.values()) < 1e-5
    assert all(error > 0 for name, error in errors.items() if name != "context")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["manifest.json", *(f"{net}.onnx" for net in bundle.nets)]
    )
    assert report["peak_bytes"] > 50 << 20  # Python and torch alone take more


@pytest.mark.slow
def test_the_bundle_computes_with_the_weights_of_the_checkpoint(
    interpolation: tuple[Path, dict[str, Any], dict[str, torch.Tensor]],
) -> None:
    folder, _, state = interpolation
    sizes = parse_sizes(INTERPOLATION)
    prefix = PREFIXES["autoencoder"]
    tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    original = fill_module(sizes.build("autoencoder"), tensors)
    picture = np.random.default_rng(2).uniform(-1, 1, (1, 3, 48, 64)).astype(np.float32)
    net = load_backend("onnxruntime", threads=1).load(load_bundle(folder).nets["vae_encoder"])
    with torch.no_grad():
        want = original.encode(torch.from_numpy(picture)).numpy()
    # sums in another order, a few dozen layers deep; moments are about 1
    np.testing.assert_allclose(net.run(picture=picture)["moments"], want, atol=1e-4)


@pytest.mark.slow
def test_time_context_and_unet_of_the_bundle_are_the_video_network_of_the_checkpoint(
    interpolation: tuple[Path, dict[str, Any], dict[str, torch.Tensor]],
) -> None:
    folder, _, state = interpolation
    prefix = PREFIXES["unet"]
    tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    original = fill_module(parse_sizes(INTERPOLATION).build("unet"), tensors)
    bundle, random = load_bundle(folder), np.random.default_rng(3)
    constants = bundle.constants
    assert isinstance(constants, InterpolationConstants)
    x, text, image = (
        random.standard_normal(shape).astype(np.float32)
        for shape in ((2, 8, 4, 4, 6), (2, 77, constants.context), (2, 4, constants.image_tokens, constants.context))
    )
    t, fs = np.array([999, 20], np.float32), np.array([5, 24], np.float32)
    nets = InterpolationNetworks(bundle, load_backend("onnxruntime", threads=1))
    found = nets.predict(x, nets.describe_time(t, fs), *nets.describe_context(text, image))
    with torch.no_grad():
        context = np.concatenate([text, image.reshape(2, -1, constants.context)], axis=1)
        want = original(*(torch.from_numpy(array) for array in (x, t, context, fs))).numpy()
    # sums in another order, a few dozen layers deep; v is about 1
    np.testing.assert_allclose(found, want, atol=1e-4)


def opset_of(path: Path) -> int:
    import onnx

    return next(o.version for o in onnx.load(path).opset_import if not o.domain)


@pytest.mark.slow
def test_a_tracker_goes_through_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_json(tmp_path / "config.json", TRACKER)
    torch.save({"model": tracker_state(config)}, tmp_path / "weights.pth")
    words = ["cotracker3", "--checkpoint", tmp_path / "weights.pth", "--config", config, "-o", tmp_path / "tracker"]
    code, told, fault = run(capsys, *words)
    assert code == 0, fault
    assert "CC-BY-NC-4.0" in told
    assert "peak" in told
    bundle = load_bundle(tmp_path / "tracker")
    assert bundle.kind == "tracker"
    assert bundle.licence == "CC-BY-NC-4.0"
    assert bundle.constants.window == 16
    assert bundle.constants.sliding
    code, _, fault = run(capsys, *words)
    assert code == 1
    assert "holds a bundle; give -y to replace it" in fault
    code, _, fault = run(capsys, *words, "-y", "--opset", 23)
    assert code == 0, fault
    assert opset_of(load_bundle(tmp_path / "tracker").nets["features"].path) == 23
    code, _, fault = run(capsys, *words, "-y", "--opset", 21)
    assert code == 2
    assert "--opset" in fault


def test_a_wrong_checkpoint_is_one_line_with_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_json(tmp_path / "config.json", INTERPOLATION)
    state = interpolation_state()
    del state["first_stage_model.quant_conv.bias"]
    state["model.diffusion_model.time_embed.0.weight"] = torch.zeros(3, 3)
    state["model_ema.decay"] = torch.zeros(())
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    words = ["dynamicrafter-512-interp", "--checkpoint", tmp_path / "model.ckpt", "--config", config]
    code, _, fault = run(capsys, *words, "-o", tmp_path / "bundle")
    assert code == 1
    assert len(fault.strip().splitlines()) == 1
    for part in (
        "1 missing: first_stage_model.quant_conv.bias",
        "1 of another shape: model.diffusion_model.time_embed.0.weight (3, 3), expected (128, 32)",
        "1 unexpected: model_ema.decay",
    ):
        assert part in fault
    assert not (tmp_path / "bundle").exists()


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_json(tmp_path / "config.json", INTERPOLATION)
    state = interpolation_state() | {"alphas_cumprod": torch.linspace(1, 0, 1000)}
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    words = ["dynamicrafter-512-interp", "--checkpoint", tmp_path / "model.ckpt", "--config", config]
    code, _, fault = run(capsys, *words, "-o", tmp_path / "bundle")
    assert code == 1
    assert re.search(r"trained with other constants: alphas_cumprod differs by 0\.\d+", fault)


def test_the_published_sizes_are_expected_without_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_json(tmp_path / "config.json", TRACKER)
    torch.save(tracker_state(config), tmp_path / "weights.pth")
    code, _, fault = run(capsys, "cotracker3", "--checkpoint", tmp_path / "weights.pth", "-o", tmp_path / "tracker")
    assert code == 1
    assert re.search(r"\d+ of another shape: .*\(16,\), expected \(64,\).* and \d+ more", fault)
    assert len(fault) < 2000


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "not a configuration"),
        ("[]", "not a configuration"),
        ("{}", "no 'params' in this configuration"),
        ('{"params": {"parameterization": "eps"}}', "parameterization='eps', expected 'v'"),
        ('{"params": {"use_ema": true}}', "use_ema=True, expected False"),
    ],
)
def test_a_bad_configuration_is_one_line(
    content: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(content)
    torch.save({"w": torch.zeros(3)}, tmp_path / "w.pth")
    words = ["dynamicrafter-512-interp", "--checkpoint", tmp_path / "w.pth", "-o", tmp_path / "b"]
    code, _, fault = run(capsys, *words, "--config", tmp_path / "config.json")
    assert code == 1
    assert why in fault
    assert len(fault.strip().splitlines()) == 1


def test_a_missing_checkpoint_and_a_file_as_output_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, fault = run(capsys, "cotracker3", "--checkpoint", tmp_path / "none.pth", "-o", tmp_path / "b")
    assert code == 1
    assert "no such file" in fault
    (tmp_path / "b").touch()
    code, _, fault = run(capsys, "cotracker3", "--checkpoint", tmp_path / "none.pth", "-o", tmp_path / "b")
    assert code == 1
    assert "is a file; give a folder" in fault


def test_a_bundle_says_which_published_file_it_was_made_of() -> None:
    from tgvc_export.checkpoint import Checkpoint

    file = WEIGHTS["cotracker3"].files[2]
    made = describe_source("cotracker3", Checkpoint(Path("x.pth"), "flat", file.sha256, {}), "fp16")
    assert made["notes"]["source"] == f"{WEIGHTS['cotracker3'].url}, baseline_online.pth"
    assert made["revision"] == file.sha256[:12] + "-fp16"


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom tgvc_export.command import export\n"
        "try:\n    export.main(['dynamicrafter-512-interp', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert "--checkpoint" in done.stdout
    assert done.stderr.strip() == "False"


@pytest.mark.parametrize("missing", ["torch", "onnx"])
def test_what_is_not_installed_is_named_with_how_to_get_it(missing: str, tmp_path: Path) -> None:
    config = write_json(tmp_path / "config.json", TRACKER)
    torch.save(tracker_state(config), tmp_path / "w.pth")
    code = (
        f"import sys\nsys.modules[{missing!r}] = None\nfrom tgvc_export.command import export\n"
        f"export.main(['cotracker3', '--checkpoint', {str(tmp_path / 'w.pth')!r}, '-o', {str(tmp_path / 'b')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "pip install 'tgvc[export]'" in done.stderr


def test_the_command_line_has_the_commands_that_the_packages_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["tgvc.commands"]
    assert declared == {
        "export": "tgvc_export.command:export",
        "bench": "tgvc_bench.command:bench",
        "eval": "tgvc_bench.evaluation.command:evaluate",
        "report": "tgvc_bench.report.command:report",
    }
    points = [EntryPoint(name, value, "tgvc.commands") for name, value in declared.items()]
    monkeypatch.setattr(tgvc.cli.weights, "entry_points", lambda group: points if group == "tgvc.commands" else [])
    found = tgvc.cli.weights.find_commands()
    assert set(found) == set(declared)
    assert found["export"] is export
    assert isinstance(found["export"], click.Group)
