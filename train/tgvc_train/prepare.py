"""Training data: what our own encoder and the weight-free decoder make of clips and generated scenes.

Every sample is a folder of arrays, opened as memory maps:
``source.npy``, ``warp.npy`` uint8 (N, 3H/2, W): original pictures and their weight-free reconstruction;
``hints.npy`` float16 (N, 4, H/8, W/8): see `tgvc.synthesis.conditions.Condition`;
``around.npy`` int32 (N, 2): frame numbers of the key pictures before and after each frame;
``maps.npy`` float16 (N, 4, H/8, W/8): trajectory maps, only where profile ``actdiff`` sent trajectories;
``rough.npy`` float16 (N, 7, H/8, W/8) and ``when.npy`` float32 (N, 2): see `tgvc.synthesis.rough.Rough`, only of
profile ``dynamics``; zeros on key pictures.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.progress import track

from tgvc.analysis.shots import mark_cuts
from tgvc.planning.actdiff import ActivePlanner
from tgvc.planning.dynamics import DynamicsPlanner
from tgvc.planning.group import GroupPlanner, Task
from tgvc.synthesis.conditions import CELL_PX, Condition, group_conditions, key_fineness
from tgvc.synthesis.motion import read_motion
from tgvc.synthesis.paths import sent_paths
from tgvc.synthesis.rough import SENT, describe_motion
from tgvc.synthesis.trackmaps import segment_maps
from tgvc.types import FloatArray, Motion, Picture, picture_size
from tgvc.video.reader import open_video
from tgvc_train.scenes import film_photo, read_photo, sway_photo

RATES = (0.002, 0.003, 0.004, 0.005, 0.007, 0.01)  # bits per pixel
# spacing of the keys and motion modes; None: the encoder's own choice. H, a cross-fade, is what guidance starts from.
_LAYOUTS = ((None, None), (None, None), (None, None), (8, None), (16, None), (32, None), (16, "H"))
_RUN, _SCENE = 48, 17  # frames of a sample from a clip and from a photograph
_SCENE_SIZE = (384, 288)
_EFFORT = 1
_SWAYING = 33  # frames of a photograph that sways
HELD_OUT = ("y03_waterfall", "y04_reeds_heron")  # clips that never train what profile dynamics is painted by
_SPARSE = (6, 8, 12, 16, 24)  # frames between the key pictures of profile actdiff


@dataclass(frozen=True)
class Recipe:
    """How one sample is made: a ``source``, its part from frame ``first`` on, rate, spacing, seed, modes, profile."""

    source: str
    kind: str
    first: int
    rate: float
    spacing: int | None
    seed: int
    front: str | None = None
    modes: str | None = None
    profile: str = "auto"

    @property
    def name(self) -> str:
        """Folder of the sample."""
        words = asdict(self) | {"source": Path(self.source).name}
        if self.profile == "auto":
            del words["profile"]  # samples keep the names from when there was no other
        digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()
        return f"{Path(self.source).stem}-{digest[:8]}"


def allowed_files(manifest: Path) -> list[Path]:
    """Files of a manifest (TSV) that may train shipped weights.

    Raises:
        ValueError: a line names a file that is not there.
    """
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    files = [manifest.parent / r["file"] for r in rows if r["may_train_shipped_weights"].strip() == "yes"]
    if missing := [str(f) for f in files if not f.is_file()]:
        raise ValueError(f"{manifest}: {len(missing)} files are missing, first {missing[0]}")
    return files


def plan_samples(
    clips: Sequence[Path], photos: Sequence[Path], per_clip: int, seed: int, profile: str = "auto"
) -> list[Recipe]:
    """The recipes of all samples, photographs and clips mixed so that any first part is a fair one.

    Those of profiles ``actdiff`` and ``dynamics`` have key pictures far enough apart that trajectories are sent.
    """
    rng = np.random.default_rng(seed)
    if profile == "actdiff":
        drawn = [_sparse_recipe(path, "clip", _RUN * (n % 2), rng, seed + n) for path in clips for n in range(per_clip)]
        drawn += [_sparse_recipe(path, "photo", 0, rng, seed + n, photos) for n, path in enumerate(photos)]
        return [drawn[i] for i in rng.permutation(len(drawn))]
    if profile == "dynamics":
        clips = [path for path in clips if path.stem not in HELD_OUT]
        drawn = [
            _swaying_recipe(path, "clip", _RUN * (n % 2), rng, seed + n) for path in clips for n in range(per_clip)
        ]
        drawn += [_swaying_recipe(path, "photo", 0, rng, seed + n) for n, path in enumerate(photos)]
        return [drawn[i] for i in rng.permutation(len(drawn))]
    recipes = []
    for path in clips:
        for n in range(per_clip):
            spacing, modes = _LAYOUTS[int(rng.integers(len(_LAYOUTS)))]
            recipes.append(
                Recipe(str(path), "clip", _RUN * (n % 2), float(rng.choice(RATES)), spacing, seed + n, None, modes)
            )
    for n, path in enumerate(photos):
        front = str(photos[int(rng.integers(len(photos)))]) if rng.random() < 0.5 else None
        spacing, modes = _LAYOUTS[int(rng.integers(len(_LAYOUTS)))]
        rate = float(rng.choice(RATES)) * 3  # a short run has to pay for its first picture
        recipes.append(Recipe(str(path), "photo", 0, rate, spacing, seed + n, front, modes))
    return [recipes[i] for i in rng.permutation(len(recipes))]


def _sparse_recipe(
    path: Path, kind: str, first: int, rng: np.random.Generator, seed: int, fronts: Sequence[Path] = ()
) -> Recipe:
    rate = float(rng.choice(RATES)) * (3 if kind == "photo" else 1)
    front = str(fronts[int(rng.integers(len(fronts)))]) if fronts else None  # something that moves by itself
    spacing = int(rng.choice(_SPARSE))
    return Recipe(str(path), kind, first, rate, spacing, seed, front, None, "actdiff")


def _swaying_recipe(path: Path, kind: str, first: int, rng: np.random.Generator, seed: int) -> Recipe:
    rate = float(rng.choice(RATES)) * (2 if kind == "photo" else 1)
    return Recipe(str(path), kind, first, rate, int(rng.choice((16, 32))), seed, None, None, "dynamics")


def _source_pictures(recipe: Recipe) -> list[Picture]:
    if recipe.kind == "photo" and recipe.profile == "dynamics":
        return sway_photo(read_photo(Path(recipe.source)), _SWAYING, *_SCENE_SIZE, recipe.seed)
    if recipe.kind == "photo":
        front = None if recipe.front is None else read_photo(Path(recipe.front))
        return film_photo(read_photo(Path(recipe.source)), front, _SCENE, *_SCENE_SIZE, recipe.seed)
    pictures: list[Picture] = []
    with open_video(recipe.source) as video:
        for picture, cut in mark_cuts(frame.picture for frame in video):
            if cut and len(pictures) > recipe.first + 4:
                break
            pictures.append(picture)
            if len(pictures) == recipe.first + _RUN:
                break
    return pictures[recipe.first :] if len(pictures) > recipe.first + 4 else pictures[:_RUN]


def make_sample(recipe: Recipe, folder: Path) -> Path:
    """Encode, decode without weights, and store one sample; what is there already stays."""
    target = folder / recipe.name
    if target.exists():
        return target
    sources = _source_pictures(recipe)
    width, height = picture_size(sources[0])
    budget = recipe.rate * width * height * len(sources) / 8
    if recipe.profile == "actdiff":
        planner: GroupPlanner = ActivePlanner(_EFFORT, threads=1, spacing=recipe.spacing)
    elif recipe.profile == "dynamics":
        planner = DynamicsPlanner(_EFFORT, threads=1, spacing=recipe.spacing)
    else:
        planner = GroupPlanner(_EFFORT, threads=1, spacing=recipe.spacing, modes=recipe.modes)
    plan = planner.plan(Task(sources, budget))
    keys = [plan.reconstruction[k] for k in plan.keys]
    motions = [(read_motion(s, width, height), s.length) for s in plan.segments]
    fine = key_fineness(len(plan.pictures), len(keys), width, height)
    conditions = list(group_conditions(keys, motions, fine))
    pending = folder / f"{recipe.name}.{os.getpid()}.part"
    pending.mkdir(parents=True)
    np.save(pending / "source.npy", np.stack(sources))
    np.save(pending / "warp.npy", np.stack([c.picture for c in conditions]))
    np.save(pending / "hints.npy", np.stack([c.hints for c in conditions]).astype(np.float16))
    around = [(plan.keys[c.before], plan.keys[c.after]) for c in conditions]
    np.save(pending / "around.npy", np.array(around, np.int32))
    if recipe.profile == "actdiff":
        np.save(pending / "maps.npy", _maps(conditions, motions, (width, height)).astype(np.float16))
    if recipe.profile == "dynamics":
        rough, when = _rough(conditions, motions, len(keys), (width, height))
        np.save(pending / "rough.npy", rough.astype(np.float16))
        np.save(pending / "when.npy", when)
    (pending / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    pending.rename(target)
    return target


def _maps(conditions: Sequence[Condition], motions: Sequence[tuple[Motion, int]], size: tuple[int, int]) -> FloatArray:
    """Trajectory maps float32 (N, 4, H/8, W/8) of all frames, as the decoder draws them."""
    parts, first = [segment_maps(None, [], 1, size, CELL_PX)], 1
    for motion, length in motions:
        fields = [c.fields for c in conditions[first : first + length - 2] if c.fields is not None]
        parts.append(segment_maps(motion, fields, length - 1, size, CELL_PX))
        first += length - 1
    return np.concatenate(parts, axis=1).swapaxes(0, 1)


def _rough(
    conditions: Sequence[Condition], motions: Sequence[tuple[Motion, int]], keys: int, size: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """What the flow-driven painter is told of all frames: float32 (N, 7, H/8, W/8) and (N, 2)."""
    rough = np.zeros((len(conditions), 4 + SENT, size[1] // CELL_PX, size[0] // CELL_PX), np.float32)
    when, first = np.zeros((len(conditions), 2), np.float32), 1
    for number, (motion, length) in enumerate(motions):
        fields = [c.fields for c in conditions[first : first + length - 1] if c.fields is not None]
        if fields:
            told = describe_motion(fields, sent_paths(motion, fields, *size), open_end=number + 1 == keys)
            inner = slice(first, first + len(fields))
            rough[inner], when[inner] = np.concatenate(told[:3], axis=1), told.when
        first += length - 1
    return rough, when


def _make(job: tuple[Recipe, Path]) -> Path:
    return make_sample(*job)


def prepare(recipes: Sequence[Recipe], folder: Path, processes: int) -> Iterator[Path]:
    """Make all samples, with a progress bar; resumable."""
    folder.mkdir(parents=True, exist_ok=True)
    with get_context("spawn").Pool(processes) as pool:
        jobs = pool.imap(_make, [(r, folder) for r in recipes])
        yield from track(jobs, "preparing", total=len(recipes))
