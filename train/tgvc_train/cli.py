"""The command ``tgvc-train``: from clips and photographs to the shipped bundles, step by step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tgvc.errors import TgvcError

_DATA = click.option(
    "--data", type=click.Path(path_type=Path), default=Path("train-data"), show_default=True, help="Prepared samples."
)
_RUN = click.option(
    "--run", type=click.Path(path_type=Path), default=Path("train-run"), show_default=True, help="Checkpoints and logs."
)
_DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
_MINUTES = click.option("--minutes", type=float, default=1e9, help="Stop after this time; the next call goes on.")
_STEPS = click.option("--steps", type=int, help="Steps in all, instead of the recipe's.")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _training(command: _Command) -> _Command:
    """The options of every stage that trains."""
    for option in (_STEPS, _MINUTES, _DEVICE, _RUN, _DATA):
        command = option(command)
    return command


_STAGES = """
\b
The bundle nano:
  tgvc-train prepare --clips CLIPS/MANIFEST.tsv --photos PHOTOS/MANIFEST.tsv
  tgvc-train autoencoder
  tgvc-train denoiser
  tgvc-train grain
  tgvc-train maps            (optional: for streams of profile actdiff)
  tgvc-train bundle --revision N -o engine/tgvc/assets/nano

\b
The bundle flow-nano:
  tgvc-train prepare --profile dynamics --data train-data/dynamics --clips ... --photos ...
  tgvc-train mover --data train-data/dynamics
  tgvc-train mover-bundle --data train-data/dynamics --revision N -o engine/tgvc/assets/flow-nano

\b
The bundle human-nano:
  tgvc-train human --clips CLIPS/MANIFEST.tsv --photos PHOTOS/MANIFEST.tsv
  tgvc-train human-bundle --revision N -o engine/tgvc/assets/human-nano
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_STAGES)
def cli() -> None:
    """Train the networks of the embedded bundles.

    Every step can be interrupted and goes on where it was. The same commands run on a GPU with --device cuda.
    """


@cli.command()
@click.option("--clips", type=_FILE, required=True, help="Manifest (TSV) of clips.")
@click.option("--photos", type=_FILE, required=True, help="Manifest (TSV) of photographs.")
@click.option("--per-clip", default=3, show_default=True, help="Encodings of every clip.")
@click.option("--seed", default=0, show_default=True)
@click.option("--processes", default=1, show_default=True)
@click.option(
    "--profile",
    type=click.Choice(["auto", "actdiff", "dynamics"]),
    default="auto",
    show_default=True,
    help="Of the encoder; actdiff for the stage maps, dynamics, in a folder of its own, for the stage mover.",
)
@_DATA
def prepare(clips: Path, photos: Path, per_clip: int, seed: int, processes: int, profile: str, data: Path) -> None:
    """Encode and decode clips and generated scenes; only files marked may_train_shipped_weights=yes are used."""
    from tgvc_train.prepare import allowed_files, plan_samples
    from tgvc_train.prepare import prepare as make_all

    recipes = plan_samples(allowed_files(clips), allowed_files(photos), per_clip, seed, profile)
    made = sum(1 for _ in make_all(recipes, data, processes))
    click.echo(f"{made} samples in {data}")


@cli.command()
@_training
def autoencoder(data: Path, run: Path, device: str, minutes: float, steps: int | None) -> None:
    """Train encoder and decoder."""
    from tgvc_train.autoencode import AutoencoderRecipe, train_autoencoder

    train_autoencoder(data, run, AutoencoderRecipe(**_given(steps=steps)), device, minutes)


@cli.command()
@_training
def denoiser(data: Path, run: Path, device: str, minutes: float, steps: int | None) -> None:
    """Train the denoiser on the latents of the trained encoder."""
    from tgvc_train.denoise import DenoiserRecipe, train_denoiser

    digest = _encode_samples(data, run, device)
    train_denoiser(data, digest, run, DenoiserRecipe(**_given(steps=steps)), device, minutes)


@cli.command()
@_training
def maps(data: Path, run: Path, device: str, minutes: float, steps: int | None) -> None:
    """Teach the trained denoiser to look at trajectory maps; it is kept apart, in the folder maps of the run."""
    from tgvc_train.maps import MapsRecipe, train_maps

    digest = _encode_samples(data, run, device)
    train_maps(data, digest, run, MapsRecipe(**_given(steps=steps)), device, minutes)


@cli.command()
@_training
def grain(data: Path, run: Path, device: str, minutes: float, steps: int | None) -> None:
    """Train the decoder to tell how much fine texture its pictures lack."""
    from tgvc_train.grain import GrainRecipe, train_grain

    train_grain(data, run, GrainRecipe(**_given(steps=steps)), device, minutes)


@cli.command()
@click.option("--clips", type=_FILE, help="Manifest (TSV) of clips; without it, data that is there already.")
@click.option("--photos", type=_FILE, help="Manifest (TSV) of photographs.")
@click.option("--scenes", default=400, show_default=True, help="Photographs used, at most.")
@click.option("--seed", default=0, show_default=True)
@_training
def human(
    clips: Path | None,
    photos: Path | None,
    scenes: int,
    seed: int,
    data: Path,
    run: Path,
    device: str,
    minutes: float,
    steps: int | None,
) -> None:
    """Prepare data for the networks of profile human, and train them; both go on where they were."""
    from tgvc_train.human import HumanRecipe, train_human
    from tgvc_train.human_data import find_people, prepare_all
    from tgvc_train.prepare import allowed_files

    people, others = find_people(clips) if clips else ([], [])
    prepare_all(people, others, allowed_files(photos)[:scenes] if photos else [], data / "human", seed)
    train_human(data / "human", run, HumanRecipe(**_given(steps=steps, seed=seed)), device=device, minutes=minutes)


@cli.command()
@_training
def mover(data: Path, run: Path, device: str, minutes: float, steps: int | None) -> None:
    """Train the flow-driven painter of profile dynamics on samples prepared with that profile."""
    from tgvc_train.mover import MoverRecipe, train_mover

    train_mover(data, run, MoverRecipe(**_given(steps=steps)), device, minutes)


@cli.command("mover-bundle")
@click.option("--revision", required=True, help="Of the bundle, such as 1.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder.")
@_DATA
@_RUN
def mover_bundle(revision: str, output: Path, data: Path, run: Path) -> None:
    """Write the flow-driven painter as ONNX with a manifest, checked against torch in a fresh process."""
    from tgvc_train.mover_bundle import write_mover_bundle

    made = write_mover_bundle(data, run, output, revision)
    click.echo(f"{output}: {made.name} {made.revision}")


@cli.command("human-bundle")
@click.option("--revision", required=True, help="Of the bundle, such as 1.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder.")
@_DATA
@_RUN
def human_bundle(revision: str, output: Path, data: Path, run: Path) -> None:
    """Write the networks of profile human as ONNX with a manifest, checked against torch in a fresh process."""
    from tgvc_train.human_bundle import write_human_bundle

    made = write_human_bundle(data / "human", run, output, revision, {})
    click.echo(f"{output}: {made.name} {made.revision}")


@cli.command()
@click.option("--revision", required=True, help="Of the bundle, such as 1.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder.")
@click.option("--maps", is_flag=True, help="With the denoiser of the stage maps.")
@_DATA
@_RUN
def bundle(revision: str, output: Path, maps: bool, data: Path, run: Path) -> None:
    """Write the trained networks as ONNX with a manifest, checked against torch in a fresh process."""
    from tgvc_train.bundle import write_bundle
    from tgvc_train.checkpoint import trained_steps
    from tgvc_train.maps import FOLDER

    steps = trained_steps(run) | ({FOLDER: trained_steps(run / FOLDER)["denoiser"]} if maps else {})
    made = write_bundle(data, run, output, revision, {"trained_steps": steps}, maps=maps)
    click.echo(f"{output}: {made.name} {made.revision}")


@cli.command()
@click.option("--clips", type=_FILE, required=True, help="Manifest (TSV) of clips.")
@click.option("--photos", type=_FILE, required=True, help="Manifest (TSV) of photographs.")
@click.option("--limit", default=60.0, show_default=True, help="Megabytes that the file may take.")
@click.option("--root", type=click.Path(path_type=Path), default=Path(), help="Of the project's sources.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@_RUN
def pack(clips: Path, photos: Path, limit: float, root: Path, output: Path, run: Path) -> None:
    """Code, data and checkpoints in one file, for a machine without a network."""
    from tgvc_train.pack import pack_training
    from tgvc_train.prepare import allowed_files

    states = sorted(run.glob("*.pt"))
    counts = pack_training(root, allowed_files(clips), allowed_files(photos), states, output, int(limit * 1e6))
    click.echo(f"{output}: {counts[0]} clips, {counts[1]} photographs, {len(states)} checkpoints")


@cli.command()
@_RUN
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="PNG.")
def plot(run: Path, output: Path) -> None:
    """Draw the losses of a run."""
    from tgvc_train.plot import plot_logs

    plot_logs(sorted(run.glob("*.jsonl")), output)


def _encode_samples(data: Path, run: Path, device: str) -> str:
    """Latents of all samples by the trained encoder, beside them; returns the digest that they are known by."""
    from tgvc_train.latents import encode_all, load_encoder

    encoder, digest = load_encoder(run / "autoencoder.pt")
    encode_all(data, encoder, digest, device)
    return digest


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def main() -> None:
    """Run the command; faults of input become one line."""
    try:
        cli(standalone_mode=True)
    except (TgvcError, ValueError, OSError) as error:
        click.echo(f"tgvc-train: {error}", err=True)
        sys.exit(1)
