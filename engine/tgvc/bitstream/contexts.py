"""The contexts of a TRACKS payload: one set for all segments of a group, starting from measured priors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tgvc.bitstream.priors import PRIORS, WEIGHT
from tgvc.bitstream.rangecoder import Context, NumberContexts

State: TypeAlias = list[tuple[int, int]]

LENGTHS = 9  # contexts of a number's length, the last one for all longer numbers
TOPS = 4
CLASSES = 7  # of the magnitude around a coefficient
TRACK_ORDERS, GLOBAL_ORDERS, LAST_ORDERS = 6, 4, 9  # frequencies told apart, the last one for all higher ones
ENDS = 13
UNARY = 16

SIZES = {
    "mode": 12,
    "transform": 6,
    "same_step": 2,
    "terms": 8,
    "difference": 1,
    "phase": 1,
    "count": 2 * LENGTHS,
    "count_top": TOPS,
    "anchor": UNARY,
    "all_visible": 1,
    "track_visible": 1,
    "first_visible": 1,
    "run": 2 * LENGTHS,
    "run_top": TOPS,
    "track_end": ENDS,
    "track_last": LAST_ORDERS * LENGTHS,
    "track_coef": TRACK_ORDERS * CLASSES * LENGTHS,
    "track_top": TOPS,
    "track_dpcm": CLASSES * LENGTHS,
    "track_dpcm_sign": 3,
    "global_end": ENDS,
    "global_last": GLOBAL_ORDERS * LENGTHS,
    "global_coef": GLOBAL_ORDERS * CLASSES * LENGTHS,
    "global_top": TOPS,
    "global_dpcm": CLASSES * LENGTHS,
    "global_dpcm_sign": 3,
}


class SeriesContexts:
    """The contexts of one kind of series over time: a track's residual, or the global model's modes.

    ``end[k]``: does the series reach beyond frequency k. ``last[k]``: its last coefficient. ``coef[k][c]``: any other,
    c the class of the magnitudes after it. ``dpcm[c]``, ``dpcm_sign[s]``: prediction errors, s the last sign.
    """

    def __init__(self, named: dict[str, list[Context]], kind: str, orders: int, last_orders: int) -> None:
        self.orders, self.last_orders = orders - 1, last_orders - 1
        self.end = named[f"{kind}_end"]
        top = named[f"{kind}_top"]
        self.last = _numbers(named[f"{kind}_last"], top)
        coef = _numbers(named[f"{kind}_coef"], top)
        self.coef = [coef[k * CLASSES : (k + 1) * CLASSES] for k in range(orders)]
        self.dpcm = _numbers(named[f"{kind}_dpcm"], top)
        self.dpcm_sign = named[f"{kind}_dpcm_sign"]


class MotionContexts:
    """All contexts of a group, by name, with `save` and `restore` for an encoder that tries things."""

    def __init__(self) -> None:
        named = {name: [Context(p, WEIGHT if name in PRIORS else 0) for p in _priors(name)] for name in SIZES}
        self._all = [context for group in named.values() for context in group]
        self.mode, self.transform, self.same_step = named["mode"], named["transform"], named["same_step"]
        self.terms = [named["terms"][:4], named["terms"][4:]]
        self.difference, self.phase = named["difference"][0], named["phase"][0]
        self.count = _numbers(named["count"], named["count_top"])
        self.anchor = named["anchor"]
        self.all_visible, self.track_visible = named["all_visible"][0], named["track_visible"][0]
        self.first_visible = named["first_visible"][0]
        self.run = _numbers(named["run"], named["run_top"])
        self.track = SeriesContexts(named, "track", TRACK_ORDERS, LAST_ORDERS)
        self.globals = SeriesContexts(named, "global", GLOBAL_ORDERS, GLOBAL_ORDERS)

    def save(self) -> State:
        """What all contexts know now."""
        return [(c.p, c.n) for c in self._all]

    def restore(self, state: State) -> None:
        """Return to what `save` gave."""
        for context, (p, n) in zip(self._all, state, strict=True):
            context.p = p
            context.n = n


def _priors(name: str) -> Sequence[int]:
    return PRIORS.get(name, (128,) * SIZES[name])


def _numbers(contexts: list[Context], top: list[Context]) -> list[NumberContexts]:
    return [NumberContexts(contexts[i : i + LENGTHS], top) for i in range(0, len(contexts), LENGTHS)]
