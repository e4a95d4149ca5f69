"""The pose estimator `mapanything`."""

from __future__ import annotations

from collections.abc import Sequence

from interpose_sfm.options import MapAnythingOptions
from interpose_sfm.pose.da3.pictures import cut_alike
from interpose_sfm.pose.mapanything import checkout, network
from interpose_sfm.pose.mapanything.network import CalibratedNetwork
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator
from interpose_sfm.pose.scenes import place_views
from interpose_sfm.products import View, ViewPoses
from interpose_sfm.storage.content_keys import content_key


class MapAnythingEstimator(PoseEstimator):
    """Depths and poses of all views, in metres, from one forward pass of MapAnything.

    It is told the cameras that are known. The network is loaded at the first estimate. Its poses go by no matches, so
    those of the pair alone are proposals that the matches of the two photos can judge.
    """

    name = "mapanything"
    proposes = True

    def __init__(self, context: EstimatorContext) -> None:
        """Choose the options; loads nothing.

        Raises:
            ValueError: Options of something else.
        """
        options = MapAnythingOptions() if context.options is None else context.options
        if not isinstance(options, MapAnythingOptions):
            raise ValueError(f"estimator {self.name!r}: got {type(options).__name__}, expected MapAnythingOptions")
        self._context, self._options = context, options
        self._network: CalibratedNetwork | None = None

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
        licences = (
            f"code Apache-2.0, weights {network.REPO} {network.LICENCE}; {network.NON_COMMERCIAL_REPO} is CC BY-NC"
        )
        if network.find_weights(MapAnythingOptions()) is None:
            raise ValueError(f"no weights: hf download {network.REPO} {network.WEIGHTS_FILE} ({licences})")
        return f"commit {checkout.COMMIT[:12]}, weights are here ({licences})"

    @classmethod
    def has_weights(cls, options: object | None) -> bool:
        """See `PoseEstimator`."""
        return (
            network.find_weights(options if isinstance(options, MapAnythingOptions) else MapAnythingOptions())
            is not None
        )

    @property
    def traits(self) -> EstimatorTraits:
        """See `EstimatorTraits`."""
        key = content_key(self._options, self._loaded().identity)
        return EstimatorTraits(gains_from_more_views=False, trusts_focal_lengths=False, settings_key=key)

    def estimate(self, views: Sequence[View]) -> ViewPoses:
        """See `PoseEstimator`."""
        if len(views) < 2:
            raise ValueError(f"got {len(views)} views, expected at least A and B")
        crops = cut_alike([view.image for view in views], self._options.mapanything_size_px)
        cameras = [
            crop.crop_intrinsics(view.intrinsics) if view.intrinsics.is_trusted else None
            for crop, view in zip(crops, views, strict=True)
        ]
        guess = self._loaded().guess([crop.image for crop in crops], cameras)
        return place_views(guess, views, crops, (self._context.features(views[0]), self._context.features(views[-1])))

    def close(self) -> None:
        """Let go of the network; the next estimate loads it again."""
        self._network = None

    def _loaded(self) -> CalibratedNetwork:
        if self._network is None:
            self._network = network.load_network(self._options)
        return self._network
