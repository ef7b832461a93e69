"""The register of profiles: numbers in the stream, names in the configuration, planners behind them."""

from __future__ import annotations

import pytest

from tgvc.config import OF_PROFILES, PROFILE_IDS, PROFILES, EncoderConfig
from tgvc.errors import ConfigError
from tgvc.planning.profiles import MAKERS, Planner, make_planner
from tgvc.summary import PROFILE_NAMES

VALUES = {
    "coverage": 0.7,
    "ends": "first",
    "gops": "fixed",
    "points": "uniform",
    "spacing": 2,
    "modes": "F",
    "parity": "reference",
}
VALUES |= {"parity": "reference", "backend": "onnxruntime"}


def test_numbers_of_profiles_in_a_stream_never_change() -> None:
    assert PROFILE_IDS == {"auto": 0, "tgvc": 1, "actdiff": 2, "dynamics": 3, "human": 4}
    assert {PROFILE_NAMES[n]: n for n in PROFILE_NAMES} == PROFILE_IDS


def test_every_profile_that_may_be_asked_for_has_a_planner_and_a_number() -> None:
    assert set(MAKERS) == set(PROFILES) <= set(PROFILE_IDS)
    assert {p for knowing in OF_PROFILES.values() for p in knowing} <= set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_planner_is_made_for_every_profile(profile: str) -> None:
    if profile == "tgvc":
        pytest.importorskip("hdbscan", reason="the extra `cluster` is not installed")
    planner: Planner = make_planner(EncoderConfig(profile=profile), 6, 1)
    assert callable(planner.plan)


@pytest.mark.parametrize("name", sorted(OF_PROFILES))
@pytest.mark.parametrize("profile", PROFILES)
def test_options_of_one_profile_are_refused_by_the_others(name: str, profile: str) -> None:
    given = {name: VALUES.get(name, "somewhere")}
    if profile in OF_PROFILES[name]:
        assert getattr(EncoderConfig(profile=profile, **given), name) == given[name]
        return
    with pytest.raises(ConfigError, match=f"{name}=.*: expected profile={OF_PROFILES[name][0]}.* beside it"):
        EncoderConfig(profile=profile, **given)
