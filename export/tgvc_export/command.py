"""The command ``tgvc export``: published weights to bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tgvc.errors import BackendUnavailableError, BundleError, TgvcError
from tgvc.fetch import WEIGHTS, Weights
from tgvc.types import OnProgress
from tgvc_export.engines import ExportLine, engines
from tgvc_export.progress import show_progress

if TYPE_CHECKING:  # torch takes long to import, and --help needs none of it
    from tgvc.models.bundle import ModelBundle
    from tgvc_export.checkpoint import Checkpoint
    from tgvc_export.precision import Precision
    from tgvc_export.resident import MemoryWatch

INTERPOLATION, TRACKER, ANIMATION = "dynamicrafter-512-interp", "cotracker3", "svd-mofa"
_Command = TypeVar("_Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)


def _bundle_options(command: _Command) -> _Command:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output."),
        click.option("-q", "--quiet", is_flag=True, help="No progress bar and no report."),
        click.option("-y", "--overwrite", is_flag=True, help="Replace the bundle if there is one."),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "fp16", "stored-halves"]),
            default="fp32",
            show_default=True,
            help="fp32 for CPUs; fp16 computes in halves, for GPUs; stored-halves: half the file, float32 arithmetic.",
        ),
        click.option(
            "--opset",
            type=click.Choice([20, 23]),
            default=20,
            show_default=True,
            help="Of ONNX. 23 keeps attention in one piece, for CUDA in ONNX Runtime; TensorRT-RTX does not take it.",
        ),
        click.option("-o", "--output", type=_PATH, required=True, metavar="BUNDLE", help="Folder to write."),
    ):
        command = option(command)
    return command


def _shared_options(command: _Command) -> _Command:
    command = click.option(
        "--config", type=_PATH, metavar="JSON", help="Sizes of the networks, if they are not the published ones."
    )(_bundle_options(command))
    return click.option(
        "--checkpoint", type=_PATH, required=True, metavar="FILE", help="Weights: .ckpt, .pth or .safetensors."
    )(command)


@click.group(cls=ExportLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def export() -> None:
    """Make bundles of published weights, and engines of bundles.

    The files are those of `tgvc fetch`. Nothing in them is ever run as code. A bundle is under the licence of the
    weights that it was made of. With the name or the folder of a bundle, and --tensorrt, engines are built of it.
    """


@export.command(
    INTERPOLATION,
    epilog=f"\b\nExample:\n  tgvc export {INTERPOLATION} --checkpoint {INTERPOLATION}/model.ckpt -o interp "
    "--precision fp16",
)
@_shared_options
@click.option(
    "--vocabulary",
    type=_PATH,
    metavar="FILE",
    help="bpe_simple_vocab_16e6.txt.gz of open_clip_torch, for prompts; the empty prompt needs none.",
)
def interpolation(
    checkpoint: Path,
    output: Path,
    config: Path | None,
    precision: Precision,
    opset: int,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    vocabulary: Path | None,
) -> None:
    """DynamiCrafter 512 interpolation: all frames between two key pictures.

    Made of model.ckpt (10.4 GB): UNet, autoencoder, image and text tower. Takes as much room on the disk again, and
    half as much twice for a while.
    """

    def make(opened: Checkpoint, on_progress: OnProgress | None) -> ModelBundle:
        from tgvc_export.dynamicrafter.bundle import BundleLabel, export_interpolation
        from tgvc_export.dynamicrafter.published import read_sizes

        label = BundleLabel(**describe_source(INTERPOLATION, opened, precision))
        sizes = read_sizes(config) if config else None
        return export_interpolation(
            opened,
            output,
            label,
            sizes=sizes,
            precision=precision,
            opset=opset,
            vocabulary=vocabulary,
            on_progress=on_progress,
        )

    _run(make, checkpoint, output, overwrite, quiet, as_json)


@export.command(
    TRACKER,
    epilog=f"\b\nExample:\n  tgvc export {TRACKER} --checkpoint {TRACKER}/baseline_online.pth -o tracker",
)
@_shared_options
def tracker(
    checkpoint: Path,
    output: Path,
    config: Path | None,
    precision: Precision,
    opset: int,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """CoTracker3: points followed through a clip.

    Made of one of scaled_offline.pth, scaled_online.pth, baseline_online.pth (T-GVC's). CC-BY-NC-4.0: neither the
    weights nor the bundle may be used for commercial purposes.
    """

    def make(opened: Checkpoint, on_progress: OnProgress | None) -> ModelBundle:
        from tgvc_export.cotracker.export import export_tracker
        from tgvc_export.cotracker.published import load_tracker, read_options

        if on_progress:
            on_progress("export", 0, 1)
        loaded = load_tracker(opened, read_options(config) if config else None)
        label = describe_source(TRACKER, opened, precision)
        return export_tracker(loaded, output, precision=precision, opset=opset, **label)

    _run(make, checkpoint, output, overwrite, quiet, as_json)


@export.command(
    ANIMATION,
    epilog=f"\b\nExample:\n  tgvc export {ANIMATION} --checkpoint stable-video-diffusion-img2vid-xt-1-1 "
    "--adapter ckpts/controlnet -o mofa --precision fp16",
)
@_bundle_options
@click.option(
    "--features",
    type=click.Choice(["splatted", "looked-up"]),
    default="splatted",
    show_default=True,
    help="How the key picture's features move: forwards as published, or by the inverse flow, without scattering.",
)
@click.option("--adapter", type=_PATH, metavar="FOLDER", help="controlnet, if it lies elsewhere.")
@click.option(
    "--checkpoint", type=_PATH, required=True, metavar="FOLDER", help="With unet, vae, image_encoder and controlnet."
)
def animation(
    checkpoint: Path,
    adapter: Path | None,
    features: str,
    output: Path,
    precision: Precision,
    opset: int,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Stable Video Diffusion with MOFA-Video's adapter: all frames after one key picture, along a flow.

    Made of the folders of img2vid-xt or img2vid-xt-1-1 as diffusers publishes them, and of the adapter's beside them.
    `tgvc fetch` does not have them. No generator of this release decodes with the bundle.
    """

    def make(on_progress: OnProgress | None) -> ModelBundle:
        from tgvc_export.dynamicrafter.bundle import BundleLabel
        from tgvc_export.mofa.bundle import export_animation
        from tgvc_export.mofa.published import LICENCE, TERMS, open_folder

        opened = open_folder(checkpoint, adapter, on_progress)
        revision = f"{opened.sha256[:12]}-{precision}"
        notes = {"source": str(checkpoint.name), "source_sha256": opened.sha256, "terms": TERMS}
        label = BundleLabel(name=ANIMATION, revision=revision, licence=LICENCE, notes=notes)
        return export_animation(
            opened,
            output,
            label,
            forwards=features == "splatted",
            precision=precision,
            opset=opset,
            on_progress=on_progress,
        )

    _write(make, output, overwrite, quiet, as_json)


export.add_command(engines)


@export.command("int8", epilog="\b\nExample:\n  tgvc export int8 interp -o interp-int8")
@click.argument("source", metavar="BUNDLE")
@click.option("-o", "--output", type=_PATH, required=True, metavar="BUNDLE", help="Folder to write.")
@click.option("--limit", default=0.05, show_default=True, help="Error allowed, as a share of the output.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace the bundle if there is one.")
@click.option("-q", "--quiet", is_flag=True, help="No report.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output.")
def int8(source: str, output: Path, limit: float, overwrite: bool, quiet: bool, as_json: bool) -> None:
    """Matrix products of a bundle's UNet in eight bits, for ONNX Runtime on CPUs.

    BUNDLE was exported with --precision fp32. The error is measured, and what is above the limit is not written.
    """
    _check_place(output, overwrite)
    with _one_error():
        from tgvc_export.eight_bit import quantise_bundle
        from tgvc_export.resident import MemoryWatch

        with MemoryWatch() as watch:
            bundle = quantise_bundle(source, output, limit=limit)
    _report(bundle, watch, as_json, quiet)


def describe_source(name: str, checkpoint: Checkpoint, precision: str) -> dict[str, Any]:
    """Name, revision, licence and notes of a bundle, by what is known of the checkpoint's hash."""
    weights, file = _find_published(name, checkpoint.sha256)
    notes = {
        "source": f"{weights.url}, {file}" if file else f"{checkpoint.path.name}, which is not a published file",
        "source_sha256": checkpoint.sha256,
        "terms": weights.terms,
    }
    revision = f"{checkpoint.sha256[:12]}-{precision}"
    return {"name": name, "revision": revision, "licence": weights.licence, "notes": notes}


def _find_published(name: str, sha256: str) -> tuple[Weights, str]:
    """The record of published weights, and which of its files has this hash; empty if none."""
    weights = WEIGHTS[name]
    return weights, next((file.name for file in weights.files if file.sha256 == sha256), "")


def _run(
    make: Callable[[Checkpoint, OnProgress | None], ModelBundle],
    checkpoint: Path,
    output: Path,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    def make_of_file(on_progress: OnProgress | None) -> ModelBundle:
        from tgvc_export.checkpoint import open_checkpoint

        return make(open_checkpoint(checkpoint, on_progress), on_progress)

    _write(make_of_file, output, overwrite, quiet, as_json)


def _write(
    make: Callable[[OnProgress | None], ModelBundle], output: Path, overwrite: bool, quiet: bool, as_json: bool
) -> None:
    _check_place(output, overwrite)
    with _one_error():
        from tgvc_export.resident import MemoryWatch

        with MemoryWatch() as watch, show_progress(quiet) as on_progress:
            bundle = make(on_progress)
    _report(bundle, watch, as_json, quiet)


def _check_place(output: Path, overwrite: bool) -> None:
    from tgvc.models.manifest import MANIFEST

    if (output / MANIFEST).exists() and not overwrite:
        raise BundleError(f"{output}: holds a bundle; give -y to replace it, or another folder with -o")
    if output.exists() and not output.is_dir():
        raise BundleError(f"{output}: is a file; give a folder with -o")


def _report(bundle: ModelBundle, watch: MemoryWatch, as_json: bool, quiet: bool) -> None:
    from tgvc.cli.tables import print_json, print_lines

    sizes = {name: sum(path.stat().st_size for path in record.paths) for name, record in bundle.nets.items()}
    if as_json:
        print_json(
            {
                "bundle": str(bundle.folder),
                "label": bundle.label,
                "licence": bundle.licence,
                "bytes": sizes,
                "errors": {name: dict(record.error) for name, record in bundle.nets.items()},
                "notes": dict(bundle.notes),
                "peak_bytes": watch.own,
                "peak_bytes_with_files": watch.resident,
            }
        )
    elif not quiet:
        print_lines(
            [
                ("wrote", f"{bundle.folder}: bundle {bundle.label}, {sum(sizes.values()) / 1e9:.2f} GB"),
                ("source", str(bundle.notes.get("source", ""))),
                ("licence", f"{bundle.licence}: {bundle.notes.get('terms', '')}"),
                *(
                    ("network", f"{name} {sizes[name] / 1e6:.1f} MB, {_errors(record.error)}")
                    for name, record in bundle.nets.items()
                ),
                ("memory", f"peak {watch.describe()}"),
            ]
        )


def _errors(errors: Any) -> str:
    return ", ".join(f"{kind.replace('_', ' ')} error {value:.2g}" for kind, value in errors.items())


@contextmanager
def _one_error() -> Iterator[None]:
    """Turn what torch and the export raise into the one line that a command ends with."""
    try:
        yield
    except TgvcError:
        raise
    except ImportError as fault:
        why = " ".join(str(fault).split())
        raise BackendUnavailableError(f"exporting needs torch and onnx ({why}); pip install 'tgvc[export]'") from fault
    except (ValueError, RuntimeError, OSError) as fault:
        raise BundleError(f"export failed: {' '.join(str(fault).split())[:600]}") from fault
