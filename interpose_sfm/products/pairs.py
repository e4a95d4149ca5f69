"""Pairs of photos, and the view graph that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from interpose_sfm._compat import StrEnum


@dataclass(frozen=True, order=True)
class ImagePair:
    """Two photos by name. The order is that of the relative pose b_from_a."""

    a: str
    b: str

    def __post_init__(self) -> None:
        if self.a == self.b:
            raise ValueError(f"a pair needs two different photos, got {self.a!r} twice")

    @classmethod
    def sorted(cls, x: str, y: str) -> ImagePair:
        """The pair in name order, the form in which the view graph names its pairs."""
        return cls(min(x, y), max(x, y))


def connected_components(names: Iterable[str], pairs: Iterable[ImagePair]) -> tuple[frozenset[str], ...]:
    """Connected components of a graph over photo names, largest first, ties in name order."""
    component = {name: {name} for name in names}
    for pair in pairs:
        first, second = component[pair.a], component[pair.b]
        if first is second:
            continue
        first |= second
        for name in second:
            component[name] = first
    distinct = {id(group): frozenset(group) for group in component.values()}
    return tuple(sorted(distinct.values(), key=lambda group: (-len(group), min(group))))


@dataclass(frozen=True)
class LookAlike:
    """Two photos that a model puts at nearly one view although their surroundings differ.

    Attributes:
        silent_share: Of what should match in the other photo, the share that does not, of patches of the picture; the
            lower one of both photos.
        num_verified: Verified matches of the pair: what looks alike.
    """

    pair: ImagePair
    silent_share: float
    num_verified: int


class WeakReason(StrEnum):
    """Why the base model does not connect two photos."""

    NO_VERIFIED_MATCH = "no verified match"
    FEW_MATCHES = "few matches"
    DISCONNECTED = "in different models"
    UNREGISTERED = "unregistered"


@dataclass(frozen=True)
class WeakPair:
    """A pair whose link would connect what the base model leaves apart.

    Attributes:
        reasons: Every reason that holds.
        num_verified: Verified SIFT matches of the pair in the database.
    """

    pair: ImagePair
    reasons: tuple[WeakReason, ...]
    num_verified: int


@dataclass(frozen=True)
class ViewGraph:
    """What the base stage connects and what it does not.

    Attributes:
        names: All photos in the database.
        verified: Verified match count of every verified pair, in name order.
        verified_components: Connected components of the verified graph, largest first.
        models: Photos registered in each base model, largest model first. A photo may be in several.
        unregistered: Photos in no base model.
        weak_pairs: Ranked, most promising first.
    """

    names: tuple[str, ...]
    verified: Mapping[ImagePair, int]
    verified_components: tuple[frozenset[str], ...]
    models: tuple[frozenset[str], ...]
    unregistered: frozenset[str]
    weak_pairs: tuple[WeakPair, ...]
