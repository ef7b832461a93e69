"""The whole interpolation of the original: the engine's own conditioning and sampler around torch twins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from golden import Arrays, Comparison, Meta, compare_outputs
from golden_clip import image_weights, part_of
from golden_unet import build_unet
from golden_vae import filled
from tgvc.diffusion.sampler import Options, ddim
from tgvc.diffusion.schedule import make_schedule
from tgvc.models.clip_text import END, START, Vocabulary, tokenise_prompts
from tgvc.models.constants import InterpolationConstants
from tgvc.models.contract import TEXT_TOKENS
from tgvc.synthesis.interpolation.conditioning import Conditioner
from tgvc.types import FloatArray
from tgvc_export.dynamicrafter.autoencoder import Autoencoder, AutoencoderConfig
from tgvc_export.dynamicrafter.networks import ImageContext, VaeDecoder, VaeEncoder
from tgvc_export.dynamicrafter.resampler import Resampler, ResamplerConfig
from tgvc_export.dynamicrafter.unet import UNet3D, UNetGraph
from tgvc_export.openclip.image import ImageConfig, ImageTower
from tgvc_export.openclip.text import TextConfig, TextTower

VOCABULARY = os.environ.get("TGVC_VOCABULARY")
# Words that are one token each, so that plain prompts need no vocabulary
_TABLE = """
a:320 an:550 and:537 are:631 around:1630 at:536 ball:1069 beach:2117 bear:4298 bike:3701 bird:3329 black:1449
blue:1746 boat:4440 boy:1876 bridge:2465 brown:2866 bus:2840 by:638 camera:3934 car:1615 cat:2368 child:2913
city:1305 close:2660 cloud:3887 clouds:6244 cooking:6283 crowd:4570 dance:2724 dancing:6226 day:575 dog:1929
down:1136 driving:4161 eating:4371 falling:7293 field:1570 fire:1769 fish:2759 fishing:4935 flower:4055
flowers:4023 flying:4610 food:1559 forest:4167 front:2184 girl:1611 grass:5922 green:1901 hand:2463 her:899
his:787 holding:5050 horse:4558 horses:8809 house:1212 in:530 into:1095 is:533 it:585 jumping:11476 kitchen:4485
lake:2553 lamp:10725 landscape:5727 light:1395 looking:1312 man:786 men:1656 mountain:3965 mountains:5873
moving:3584 near:2252 night:930 ocean:4918 of:539 on:525 orange:4287 over:962 park:1452 people:1047 person:2533
plane:5363 playing:1629 rain:2443 red:736 riding:6765 river:2473 road:1759 robot:8797 room:1530 running:2761
sailing:11003 sand:5094 sea:2102 shore:5928 sitting:4919 sky:2390 smiling:9200 snow:2583 standing:2862
street:2012 sun:2176 sunrise:5610 sunset:3424 swimming:7411 table:2175 talking:2578 the:518 through:1417
time:788 to:531 train:3231 tree:2677 trees:4682 two:1237 up:705 view:1093 walking:3941 water:1573 waves:7882
white:1579 wind:3630 window:4879 with:593 woman:2308 women:1507 yellow:4481 young:1888
"""
_WORDS = {word: int(number) for word, _, number in (pair.partition(":") for pair in _TABLE.split())}


@dataclass(frozen=True, eq=False)
class Twins:
    """Torch modules by the names of a bundle's networks, called as `tgvc.models.interpolation` calls these."""

    constants: InterpolationConstants
    nets: Mapping[str, nn.Module]

    def encode(self, pictures: FloatArray) -> FloatArray:
        return self._run("vae_encoder", pictures)[0]

    def decode(self, z: FloatArray) -> FloatArray:
        return self._run("vae_decoder", z)[0]

    def look(self, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
        tokens, embedding = self._run("image_tower", pixels)
        return tokens, embedding

    def read(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        return self._run("text_tower", tokens)[0]

    def release_text(self) -> None:
        pass

    def describe_time(self, t: FloatArray, fs: FloatArray) -> FloatArray:
        return self._run("time", t, fs)[0]

    def describe_context(self, text: FloatArray, image: FloatArray) -> tuple[FloatArray, FloatArray]:
        text_kv, image_kv = self._run("context", text, image)
        return text_kv, image_kv

    def predict(self, x: FloatArray, shifts: FloatArray, text_kv: FloatArray, image_kv: FloatArray) -> FloatArray:
        return self._run("unet", x, shifts, text_kv, image_kv)[0]

    def _run(self, name: str, *inputs: npt.NDArray[Any]) -> list[Any]:
        with torch.no_grad():
            given = self.nets[name](*(torch.from_numpy(np.array(value)) for value in inputs))
        return [value.numpy() for value in ([given] if isinstance(given, torch.Tensor) else given)]


def read_prompt(prompt: str) -> npt.NDArray[np.int64]:
    """Tokens int64 (2, 77) of a prompt and of the empty one."""
    words = prompt.split()
    if VOCABULARY is None and set(words) <= set(_WORDS):
        row = [START, *(_WORDS[word] for word in words), END]
        given = np.array([row + [0] * (TEXT_TOKENS - len(row))])
        return np.concatenate([given, tokenise_prompts([""])])
    if VOCABULARY is None:
        raise LookupError(f"prompt {prompt!r} needs a vocabulary: set TGVC_VOCABULARY to CLIP's bpe_simple_vocab_16e6")
    return tokenise_prompts([prompt, ""], Vocabulary.parse(Path(VOCABULARY).read_bytes()))


def interpolation_constants(params: dict[str, Any], clip: dict[str, Any], unet: UNet3D) -> InterpolationConstants:
    """What a bundle of these networks would say of them."""
    projection, autoencoder = params["image_proj_stage_config"]["params"], params["first_stage_config"]["params"]
    return InterpolationConstants(
        latent_channels=params["channels"],
        cell_px=2 ** (len(autoencoder["ddconfig"]["ch_mult"]) - 1),
        divisor=2 ** (len(params["unet_config"]["params"]["channel_mult"]) - 1),
        latent_scale=params["scale_factor"],
        window=projection["video_length"],
        context=projection["output_dim"],
        image_tokens=projection["num_queries"],
        embedding=clip["embed_dim"],
        shifts=sum(block.outputs for block in unet.residual_blocks()),
        heads=sum(2 * layer.heads for layer in unet.asking_layers()),
        head_width=params["unet_config"]["params"]["num_head_channels"],
        schedule="linear-ztsnr",
        train_steps=params["timesteps"],
        dynamic=params["use_dynamic_rescale"],
        steps=50,
        eta=1.0,
        scale=7.5,
        rescale=0.7,
        fs=5,
    )


def build_twins(params: dict[str, Any], clip: dict[str, Any], weights: Arrays) -> Twins:
    """The networks of one checkpoint, whose keys have the published prefixes."""
    texts, images = TextConfig.from_options(clip), ImageConfig.from_options(clip)
    vae = Autoencoder(AutoencoderConfig.from_options(params["first_stage_config"]["params"]))
    filled(vae, part_of(weights, "first_stage_model."))
    resampler = Resampler(ResamplerConfig.from_options(params["image_proj_stage_config"]["params"]))
    filled(resampler, part_of(weights, "image_proj_model."))
    tower = filled(ImageTower(images), image_weights(part_of(weights, "embedder."), texts))
    unet = build_unet(params["unet_config"]["params"], part_of(weights, "model.diffusion_model."))
    constants = interpolation_constants(params, clip, unet)
    nets = {
        "time": unet.time_network(),
        "context": unet.context_network(),
        "unet": UNetGraph(unet),
        "vae_encoder": VaeEncoder(vae),
        "vae_decoder": VaeDecoder(vae),
        "image_tower": ImageContext(tower, resampler),  # type: ignore[arg-type]
        "text_tower": filled(TextTower(texts), part_of(weights, "cond_stage_model.")),
    }
    return Twins(constants, nets)


def predict_both(
    twins: Twins, x: FloatArray, known: FloatArray, shifts: FloatArray, told: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """What the UNet makes of x beside the latents of both key pictures, with the condition and without."""
    given = np.stack([np.concatenate([x, known])] * 2)
    with_, without = twins.predict(given, np.repeat(shifts, 2, axis=0), *told)
    return with_, without


def run_pipeline(meta: Meta, arrays: Arrays, weights: Arrays) -> dict[str, Comparison]:
    """Two pictures to a clip, with all random numbers given."""
    params, sampling = meta["config"]["params"], meta["sampling"]
    twins = build_twins(params, meta["clip_config"], weights)
    conditioner = Conditioner(twins, read_prompt(sampling["prompt"]), guided=True)
    pictures = (arrays["in.image_u8"].astype(np.float32) / 255 - np.float32(0.5)) * 2
    frames = sampling["T"]
    condition = conditioner.describe(pictures[0], frames)
    ends = conditioner.key_latents(pictures, arrays["in.vae_noise"].swapaxes(0, 1))
    known = np.zeros((len(ends), frames, *ends.shape[2:]), np.float32)
    known[:, 0], known[:, -1] = ends[:, 0], ends[:, 1]
    told = twins.describe_context(condition.text, condition.image)
    rate = np.full(1, sampling["fs"], np.float32)
    first: list[tuple[FloatArray, FloatArray]] = []

    def denoise(x: FloatArray, t: float) -> tuple[FloatArray, FloatArray]:
        v = predict_both(twins, x, known, twins.describe_time(np.full(1, t, np.float32), rate), told)
        first.append((v[0].copy(), v[1].copy()))
        return v

    schedule = make_schedule(
        sampling["steps"],
        spacing=sampling["timestep_spacing"],
        eta=sampling["eta"],
        dynamic=twins.constants.dynamic,
        parity=True,
    )
    latent = ddim(
        denoise,
        arrays["in.x_T"][0],
        schedule,
        lambda i: arrays["in.noise"][schedule.steps - 1 - i, 0],
        options=Options(scale=sampling["guidance_scale"], rescale=sampling["guidance_rescale"], noisy=True),
    )
    video = twins.decode(latent.swapaxes(0, 1) / np.float32(twins.constants.latent_scale))
    contexts = [np.concatenate([text, image.reshape(-1, image.shape[-1])])[None] for text, image in _runs(condition)]
    found = {
        "cond_crossattn": contexts[0],
        "uncond_crossattn": contexts[1],
        "c_concat": known[None],
        "unet_cond_step0": first[0][0][None],
        "unet_uncond_step0": first[0][1][None],
        "latent": latent[None],
        "video": video.swapaxes(0, 1)[None],
    }
    return compare_outputs(meta, arrays, found)


def _runs(condition: Any) -> list[tuple[FloatArray, FloatArray]]:
    return list(zip(condition.text, condition.image, strict=True))


RUNNERS = {"pipeline_interp": run_pipeline}
