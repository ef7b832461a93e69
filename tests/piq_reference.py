"""Prints what piq says: the literal values of test_bench_metrics.py and test_eval_neural.py.

Needs piq and torchvision: ``PYTHONPATH=bench:engine:kernels:tests python tests/piq_reference.py``.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import piq
import torch
import torchvision
from piq.feature_extractors import fid_inception
from piq.perceptual import ContentLoss

from neural_samples import random_dists, random_heads, random_inception, random_pictures, random_trunk
from test_bench_metrics import DISTURBANCES, disturb_scene


def make_vgg() -> torch.nn.Module:
    """VGG16 of torchvision with the random weights."""
    model = torchvision.models.vgg16(weights=None)
    model.load_state_dict({**model.state_dict(), **random_trunk("vgg16")})
    return model.features.eval()


def make_alexnet() -> torch.nn.Module:
    """AlexNet of torchvision with the random weights."""
    model = torchvision.models.alexnet(weights=None)
    model.load_state_dict({**model.state_dict(), **random_trunk("alexnet")})
    return model.features.eval()


def make_inception() -> torch.nn.Module:
    """Piq's Inception network with the random weights."""
    weights = random_inception()

    def load(*_: object, **__: object) -> dict[str, torch.Tensor]:
        classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
        tracked = {f"{k[:-12]}num_batches_tracked": torch.tensor(0) for k in weights if k.endswith("running_mean")}
        return {**weights, **classifier, **tracked}

    fid_inception.load_state_dict_from_url = load
    return piq.feature_extractors.InceptionV3().eval()


def print_fidelity() -> None:
    """Scores without weights, of the disturbances in test_bench_metrics.py."""
    scores = {"ms_ssim": piq.multi_scale_ssim, "gmsd": piq.gmsd, "haarpsi": piq.haarpsi, "vif": piq.vif_p}
    for name in DISTURBANCES:
        pair = [torch.from_numpy(p.astype(np.float64))[None, None] for p in disturb_scene(name)]
        found = {key: f"{call(*pair[::-1], data_range=255).item():.8f}" for key, call in scores.items()}
        print(name, found)


@torch.no_grad()
def main() -> None:
    """Print the values."""
    print_fidelity()
    a, b = random_pictures()
    for name, model, layers in (
        ("vgg16", make_vgg(), ["3", "8", "15", "22", "29"]),
        ("alexnet", make_alexnet(), ["1", "4", "7", "9", "11"]),
    ):
        heads = list(random_heads(name).values())
        # piq.LPIPS is this with layers and heads filled in
        lpips = ContentLoss(model, layers, heads, distance="mse", reduction="none", normalize_features=True)
        print("lpips", name, [f"{v:.8g}" for v in lpips(a, b).tolist()])

    torch.hub.load_state_dict_from_url = lambda *_, **__: random_dists()
    piq.perceptual.vgg16 = lambda **_: SimpleNamespace(features=make_vgg())
    print("dists", [f"{v:.8g}" for v in piq.DISTS(reduction="none")(a, b).tolist()])

    features = make_inception()(a)[0].flatten(1)
    print("inception", [f"{v:.8g}" for v in (features[0, 0], features[0, 1000], features.mean())])

    rng = np.random.default_rng(10)
    x, y = rng.standard_normal((40, 6)), 0.7 * rng.standard_normal((50, 6)) + 0.3
    print("fid", f"{piq.FID()(torch.from_numpy(x), torch.from_numpy(y)).item():.8g}")
    print("kid", f"{piq.KID()(torch.from_numpy(x), torch.from_numpy(y[:40])).item():.8g}")


if __name__ == "__main__":
    main()
