"""What a network costs: operations, parameters and bytes, counted from its graph and the shapes that go through it.

Counted is what a runtime cannot avoid: products and sums of convolutions and products of matrices (2 FLOP each), and
the bytes that each operation reads and writes. Attention that stands in a graph as product, softmax and product counts
as one operation, whose scores need not be written. Norms, sums and activations are bytes, not FLOP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["convolution", "product", "attention", "other"]
HEAVY: tuple[Kind, ...] = ("convolution", "product", "attention")


@dataclass(frozen=True)
class Operation:
    """One operation of a network.

    ``operator``: its name in the graph, such as ``Conv``. ``shapes``: of its inputs. ``flop``: 2 x multiply and add.
    ``bytes``: read and written, weights included.
    """

    kind: Kind
    operator: str
    shapes: tuple[tuple[int, ...], ...]
    flop: int
    bytes: int


@dataclass(frozen=True)
class Cost:
    """A network at given sizes.

    ``operations``: all that move data. ``parameters``: numbers in its weights; ``weight_bytes``: as they are stored.
    ``scores_bytes``: what scores of attention take where they are written and read as single operations do.
    """

    name: str
    operations: tuple[Operation, ...]
    parameters: int
    weight_bytes: int
    scores_bytes: int = 0

    @property
    def flop(self) -> int:
        """All of them."""
        return sum(one.flop for one in self.operations)

    @property
    def bytes(self) -> int:
        """Moved where no operations are fused, scores of attention included: an upper bound."""
        return sum(one.bytes for one in self.operations) + self.scores_bytes

    @property
    def heavy_bytes(self) -> int:
        """Moved by convolutions, products and attention alone, everything else fused into them: a lower bound."""
        return sum(one.bytes for one in self.heavy)

    @property
    def heavy(self) -> tuple[Operation, ...]:
        """Convolutions, products and attention: kernels that remain where everything else is fused."""
        return tuple(one for one in self.operations if one.kind in HEAVY)

    def share(self, kind: Kind) -> float:
        """Part of the FLOP that operations of a kind have."""
        return sum(one.flop for one in self.operations if one.kind == kind) / max(self.flop, 1)

    def roofline(self, flop_per_s: float, bytes_per_s: float, *, fused: bool = True) -> float:
        """Seconds below which a machine of these ceilings does not come.

        Every operation takes the longer of its arithmetic and its bytes; a little pessimistic, as what one operation
        leaves in a cache is counted again for the next.

        Args:
            flop_per_s: of a large product of matrices.
            bytes_per_s: of a large copy, read and written bytes.
            fused: only the heavy operations count; else all of them, and scores of attention.
        """
        counted = self.heavy if fused else self.operations
        spent = sum(max(one.flop / flop_per_s, one.bytes / bytes_per_s) for one in counted)
        return spent if fused else spent + self.scores_bytes / bytes_per_s

    def largest(self, count: int) -> list[tuple[Operation, int]]:
        """The operations with the most FLOP, alike ones taken together, and how many there are of each."""
        alike = Counter((one.kind, one.operator, one.shapes, one.flop, one.bytes) for one in self.heavy)
        found = [(Operation(*key), times) for key, times in alike.items()]
        return sorted(found, key=lambda pair: -pair[0].flop * pair[1])[:count]


def join_costs(name: str, parts: Sequence[tuple[Cost, int]]) -> Cost:
    """Several networks, each run so many times; parameters and weights count once."""

    def repeat() -> Iterator[Operation]:
        for cost, times in parts:
            for _ in range(times):
                yield from cost.operations

    return Cost(
        name,
        tuple(repeat()),
        sum(cost.parameters for cost, _ in parts),
        sum(cost.weight_bytes for cost, _ in parts),
        sum(cost.scores_bytes * times for cost, times in parts),
    )
