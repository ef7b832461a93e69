"""What torch's own counter says of networks, to be compared with what is told of the files they were exported to."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tgvc.models.constants import AnyConstants
from tgvc.models.contract import contract_of
from tgvc_export.graph_rules import fix_specs


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def torch_flop(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> int:
    """What torch's own counter says; on ``meta``, where it sees every product of attention."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(**inputs)
    return int(counter.get_total_flops())


def count_networks(constants: AnyConstants, networks: Mapping[str, nn.Module], **lengths: int) -> dict[str, int]:
    """FLOP of the networks of a bundle by name, at lengths of the symbols of their contract."""
    found = {}
    for name, module in networks.items():
        inputs = fix_specs(contract_of(constants)[name][0], lengths)
        given = {spec.name: meta(*map(int, spec.shape)) for spec in inputs}
        found[name] = torch_flop(copy.deepcopy(module).to("meta"), given)
    return found
