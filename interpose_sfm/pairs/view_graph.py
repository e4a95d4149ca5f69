"""What the base stage connects, and which pairs would connect the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.options import ViewGraphOptions
from interpose_sfm.pairs.boundary import boundary
from interpose_sfm.pairs.expansion import Known, Likeness, asking, expansion_pairs
from interpose_sfm.products import FloatArray, ImagePair, ViewGraph, WeakPair, WeakReason, connected_components

Rankings = Callable[[Sequence[str]], Iterable[tuple[str, Sequence[str]]]]
"""Photos -> for each of them all others, most alike first."""


@dataclass(frozen=True)
class Expand:
    """How the weak pairs of a large collection are found.

    Attributes:
        rankings: Finds photos that look alike; called only where something is apart.
        exhaustive_limit: Photos from which a collection counts as large; the budget of weak pairs is for so many.
        centers: Photo -> projection center, of every base model, in whatever unit that has.
        likeness: Compares photos by learned descriptors; called only where something is apart. None for nobody.
    """

    rankings: Rankings
    exhaustive_limit: int
    centers: Sequence[Mapping[str, FloatArray]] = ()
    likeness: Likeness | None = None

    def budget(self, options: ViewGraphOptions, num_photos: int) -> int:
        """Weak pairs of so many photos."""
        return round(options.max_weak_pairs * max(1.0, num_photos / self.exhaustive_limit))


def build_view_graph(
    database_path: Path,
    models: Sequence[frozenset[str]],
    options: ViewGraphOptions,
    only: Collection[str] | None = None,
    expand: Expand | None = None,
) -> ViewGraph:
    """Read the verified graph of a COLMAP database and rank the pairs that the base models leave apart.

    Args:
        database_path: COLMAP database with matches and two-view geometries.
        models: Photo names registered in each base model, largest first.
        options: The budget of weak pairs.
        only: Photos that count; all others are as if they were not there. All photos by default.
        expand: Of a large collection, where nobody looks at all pairs; by default all are ranked.
    """
    names, matched, verified = _read_pairs(database_path)
    if only is not None:
        kept = frozenset(only)
        names = [name for name in names if name in kept]
        matched = {pair: count for pair, count in matched.items() if pair.a in kept and pair.b in kept}
        verified = {pair: count for pair, count in verified.items() if pair.a in kept and pair.b in kept}
        models = [model & kept for model in models]
    models = [model for model in models if model]
    if expand is None:
        return rank_weak_pairs(names, matched, verified, models, options)
    return expanded_weak_pairs(names, matched, verified, models, options, expand)


def expanded_weak_pairs(
    names: Sequence[str],
    matched: Mapping[ImagePair, int],
    verified: Mapping[ImagePair, int],
    models: Sequence[frozenset[str]],
    options: ViewGraphOptions,
    expand: Expand,
) -> ViewGraph:
    """The view graph of a large collection from plain counts: the best pairs between every two of its parts."""
    ordered = sorted(names)
    budget = expand.budget(options, len(ordered))
    queries = asking(ordered, models) if budget else ()
    rankings = expand.rankings(queries) if queries else ()
    registered = frozenset[str]().union(*models)
    boundaries = frozenset(name for centers in expand.centers for name in boundary(centers, verified))
    known = Known(matched, verified, rankings, boundaries, expand.likeness)
    pairs = expansion_pairs(ordered, models, known, options, budget)
    return _view_graph(
        ordered, verified, models, [_weak_pair(pair, verified, registered, bool(models)) for pair in pairs]
    )


def read_verified(database_path: Path) -> dict[ImagePair, int]:
    """Verified matches of every verified pair of a database, in name order."""
    return dict(sorted(_read_pairs(database_path)[2].items()))


def rank_weak_pairs(
    names: Sequence[str],
    matched: Mapping[ImagePair, int],
    verified: Mapping[ImagePair, int],
    models: Sequence[frozenset[str]],
    options: ViewGraphOptions,
) -> ViewGraph:
    """The view graph from plain counts.

    A pair is weak if no base model holds both photos. Pairs are ranked by their verified matches, then by their raw
    matches, then by closeness in name order, since photos are mostly named in the order in which they were taken.
    """
    position = {name: index for index, name in enumerate(sorted(names))}
    registered = frozenset[str]().union(*models)
    ordered = sorted(names)
    weak = []
    for i, a in enumerate(ordered):
        for b in ordered[i + 1 :]:
            if any(a in model and b in model for model in models):
                continue
            weak.append(_weak_pair(ImagePair(a, b), verified, registered, bool(models)))
    weak.sort(
        key=lambda w: (
            -w.num_verified,
            -matched.get(w.pair, 0) // 10,  # raw SIFT matches are noisy: tens of them count, single ones do not
            position[w.pair.b] - position[w.pair.a],
            w.pair,
        )
    )
    return _view_graph(ordered, verified, models, weak[: options.max_weak_pairs])


def _view_graph(
    ordered: Sequence[str],
    verified: Mapping[ImagePair, int],
    models: Sequence[frozenset[str]],
    weak: Sequence[WeakPair],
) -> ViewGraph:
    return ViewGraph(
        names=tuple(ordered),
        verified=dict(verified),
        verified_components=connected_components(ordered, verified),
        models=tuple(models),
        unregistered=frozenset(ordered).difference(*models),
        weak_pairs=tuple(weak),
    )


def weak_pair(pair: ImagePair, graph: ViewGraph) -> WeakPair:
    """A weak pair of a view graph that is not among those it ranks."""
    return _weak_pair(pair, graph.verified, frozenset().union(*graph.models), bool(graph.models))


def _weak_pair(
    pair: ImagePair, verified: Mapping[ImagePair, int], registered: frozenset[str], any_model: bool
) -> WeakPair:
    count = verified.get(pair, 0)
    return WeakPair(pair, _reasons(pair, count, registered, any_model), count)


def _reasons(pair: ImagePair, num_verified: int, registered: frozenset[str], any_model: bool) -> tuple[WeakReason, ...]:
    reasons = [WeakReason.NO_VERIFIED_MATCH if num_verified == 0 else WeakReason.FEW_MATCHES]
    if any_model and pair.a in registered and pair.b in registered:
        reasons.append(WeakReason.DISCONNECTED)
    else:
        reasons.append(WeakReason.UNREGISTERED)
    return tuple(reasons)


def _read_pairs(database_path: Path) -> tuple[list[str], dict[ImagePair, int], dict[ImagePair, int]]:
    import pycolmap

    with pycolmap.Database.open(database_path) as database:
        names = {image.image_id: image.name for image in database.read_all_images()}
        matched = _by_name(names, *database.read_num_matches())
        verified = _by_name(names, *database.read_two_view_geometry_num_inliers())
    return list(names.values()), matched, {pair: n for pair, n in verified.items() if n >= MIN_VERIFIED_MATCHES}


def _by_name(names: Mapping[int, str], pair_ids: Sequence[int], counts: Sequence[int]) -> dict[ImagePair, int]:
    import pycolmap

    result = {}
    for pair_id, count in zip(pair_ids, counts, strict=True):
        first, second = pycolmap.pair_id_to_image_pair(pair_id)
        result[ImagePair.sorted(names[first], names[second])] = int(count)
    return result
