"""The pose estimator `mapanything`."""

from __future__ import annotations

from interpose_sfm.options import MapAnythingOptions
from interpose_sfm.pose.mapanything import checkout, network
from interpose_sfm.pose.scene_estimator import SceneEstimator
from interpose_sfm.pose.scenes import SceneNetwork


class MapAnythingEstimator(SceneEstimator[MapAnythingOptions]):
    """MapAnything, whose answers are in metres. It is told cameras, poses and depths that are known."""

    name = "mapanything"
    takes_placements = True

    @classmethod
    def options_class(cls) -> type[MapAnythingOptions]:
        """See `SceneEstimator`."""
        return MapAnythingOptions

    @classmethod
    def size_px(cls, options: MapAnythingOptions) -> int:
        """See `SceneEstimator`."""
        return options.mapanything_size_px

    @classmethod
    def load_network(cls, options: MapAnythingOptions) -> SceneNetwork:
        """See `SceneEstimator`."""
        return network.load_network(options)

    @classmethod
    def missing_requirements(cls) -> dict[str, str]:
        """What is not installed: module -> pip command."""
        return checkout.missing_requirements()

    @classmethod
    def probe(cls) -> str:
        """Look for a checkout in its default place and for weights, which are not read.

        Raises:
            ValueError: One of them is not here.
        """
        checkout.check(checkout.default_dir())
        if network.find_weights(MapAnythingOptions()) is None:
            raise ValueError(f"no weights: hf download {network.REPO} {network.WEIGHTS_FILE}")
        return f"commit {checkout.COMMIT[:12]}"

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        where = "here" if network.find_weights(MapAnythingOptions()) is not None else "not here"
        return (
            f"code Apache-2.0; weights {network.REPO} ({network.LICENCE}) are {where}; {network.NON_COMMERCIAL_REPO} "
            "is CC BY-NC 4.0"
        )

    @classmethod
    def has_weights(cls, options: object | None) -> bool:
        """See `PoseEstimator`."""
        return network.find_weights(cls._chosen(options)) is not None
