"""The generator `human`: frames from the key picture before them and their states, one by one, without memory.

A frame needs nothing but its key picture and the two states, so any can be painted alone, and the first is there as
soon as its own state is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from threading import Lock
from typing import Any

from tgvc.errors import ConfigError
from tgvc.models.human import HumanNetworks
from tgvc.overlap import StageClock
from tgvc.synthesis.group import DecodedGroup, GroupGenerator
from tgvc.types import OnProgress, Picture

NAME = "human"


class HumanGroups:
    """Paints groups of kind "affine"; see `tgvc.synthesis.group.GroupGenerator`.

    Key pictures are painted too, from their own state, so that nothing jumps between them and the frames beside them;
    one that serves no other frame is shown as it was coded.

    Args:
        open_networks: makes the networks ready for a colour matrix code of ISO/IEC 23091-2; called at the first group.
    """

    def __init__(self, open_networks: Callable[[int], HumanNetworks]) -> None:
        self._open, self._nets, self._lock = open_networks, dict[int, HumanNetworks](), Lock()
        self._facts: dict[str, Any] = {"generator": NAME}

    @property
    def facts(self) -> dict[str, Any]:
        """See `GroupGenerator.facts`."""
        return self._facts

    def prepare(self, matrix: int) -> HumanNetworks:
        """The networks for pictures of a colour matrix code, opened if they are not."""
        with self._lock:  # groups of several streams may be painted at once
            if matrix not in self._nets:
                nets = self._nets[matrix] = self._open(matrix)
                backend = nets.backend
                self._facts = {
                    "generator": NAME,
                    "bundle": nets.bundle.label,
                    "backend": f"{backend.name} {backend.version}",
                    "providers": backend.providers,
                }
            return self._nets[matrix]

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `GroupGenerator.render_group`.

        Raises:
            ConfigError: the states are of other networks.
        """
        assert group.states is not None
        nets = self.prepare(group.matrix)
        if group.states.networks != nets.bundle.number:
            raise ConfigError(
                f"bundle {nets.bundle.label}: number {nets.bundle.number}, these states are of networks number "
                f"{group.states.networks}; give the bundle that the stream was made with"
            )
        for key, states in zip(group.keys, group.states.runs, strict=True):
            if len(states) == 1:
                yield key
                continue
            with clock.measure("key"):
                known = nets.know(key)
            source = None
            for state in states:
                source = state if source is None else source
                with clock.measure("render"):
                    (painted,) = nets.paint(known, source, state[None])
                yield painted


class GroupsByKind:
    """Hands every group to the generator of its kind of motion; see `tgvc.synthesis.group.GroupGenerator`.

    Args:
        asked: the generator that was asked for, None if none was.
        tracks: paints groups of kind "tracks"; None: they are refused unless all their frames are key pictures.
        states: paints groups of kind "affine"; None: they are refused.
    """

    def __init__(self, asked: str | None, tracks: GroupGenerator | None, states: HumanGroups | None) -> None:
        self._asked, self._tracks, self._states = asked, tracks, states

    @property
    def facts(self) -> dict[str, Any]:
        """See `GroupGenerator.facts`; where states are painted instead, ``clock.painter`` tells of theirs."""
        generator = self._tracks or self._states
        assert generator is not None
        return generator.facts

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `GroupGenerator.render_group`.

        Raises:
            ConfigError: the generator that was asked for cannot paint this group.
        """
        if group.states is None and self._tracks is None:
            if any(length > 2 - group.open for _, length in group.motions):
                raise ConfigError(
                    f"generator={self._asked}: expected warp, latent or flow, or no --generator: this motion is "
                    "trajectories"
                )
            yield from group.keys
            return
        if group.states is None:
            assert self._tracks is not None
            yield from self._tracks.render_group(group, clock, on_progress)
            return
        if self._states is None:
            raise ConfigError(
                f"generator={self._asked}: expected human, or no --generator: this motion is states of its networks"
            )
        self._states.prepare(group.matrix)
        clock.painter = self._states.facts
        yield from self._states.render_group(group, clock, on_progress)
