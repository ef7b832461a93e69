"""The planner of each profile, made from what a caller asks for.

A new profile is one line in `MAKERS`, its name in `config.PROFILES`, and the options that only it knows in
`config.OF_PROFILES`.
"""

from __future__ import annotations

from collections.abc import Callable

from tgvc.config import PROFILE_IDS, EncoderConfig
from tgvc.planning.auto import AutoPlanner, Planner, Rival, may_be_a_person, sways
from tgvc.planning.group import GroupPlanner

_CONTEST = 2  # effort from which on profile auto tries other profiles too
__all__ = ["MAKERS", "PROFILE_IDS", "Planner", "make_planner"]


def make_planner(config: EncoderConfig, matrix: int, threads: int) -> Planner:
    """What plans the groups of a video under ``config.profile``.

    Args:
        config: of the encoder.
        matrix: colour matrix code of the video, ISO/IEC 23091-2.
        threads: candidates tried at once; the plans do not depend on it.

    Raises:
        BundleError, BackendError: a network that the profile is to use cannot be had.
        ConfigError: it will not find memory enough.
    """
    return MAKERS[config.profile](config, matrix, threads)


def _make_auto(config: EncoderConfig, matrix: int, threads: int) -> Planner:
    usual = GroupPlanner(config.effort, threads, spacing=config.spacing, modes=config.modes)
    if config.effort < _CONTEST or config.spacing is not None or config.modes is not None:
        return usual
    rivals = {
        "dynamics": Rival(lambda: _make_dynamics(config, matrix, threads), sways),
        "human": Rival(lambda: _make_human(config, matrix, threads), may_be_a_person),
    }
    return AutoPlanner(usual, rivals)


def _make_tgvc(config: EncoderConfig, matrix: int, threads: int) -> Planner:
    from tgvc.planning.networks import load_embedder, load_tracker
    from tgvc.planning.semantic import SemanticPlanner  # needs the extra `cluster`

    embedder = load_embedder(config, matrix, threads)
    tracker = load_tracker(config, threads)
    return SemanticPlanner(config.effort, threads, embedder, tracker, matrix, config.parity == "reference")


def _make_actdiff(config: EncoderConfig, matrix: int, threads: int) -> Planner:
    from tgvc.planning.actdiff import ActivePlanner
    from tgvc.planning.networks import load_tracker

    return ActivePlanner(
        config.effort,
        threads,
        tracker=load_tracker(config, threads),
        matrix=matrix,
        parity=config.parity == "reference",
        spacing=config.spacing,
        coverage=config.coverage,
        gops=config.gops or "adaptive",
        points=config.points or "greedy",
        tails=config.ends != "first",
    )


def _make_dynamics(config: EncoderConfig, matrix: int, threads: int) -> Planner:
    from tgvc.planning.dynamics import DynamicsPlanner

    return DynamicsPlanner(config.effort, threads, spacing=config.spacing)


def _make_human(config: EncoderConfig, matrix: int, threads: int) -> Planner:
    from tgvc.models.human import HumanNetworks
    from tgvc.planning.human import HumanPlanner
    from tgvc.planning.networks import load_people

    return HumanPlanner(config.effort, threads, HumanNetworks(*load_people(config, threads), matrix))


MAKERS: dict[str, Callable[[EncoderConfig, int, int], Planner]] = {
    "auto": _make_auto,
    "tgvc": _make_tgvc,
    "actdiff": _make_actdiff,
    "dynamics": _make_dynamics,
    "human": _make_human,
}
