"""The pose estimator `da3`."""

from __future__ import annotations

from collections.abc import Sequence

from interpose_sfm.options import Da3Options
from interpose_sfm.pose.da3 import checkpoint, network, network_code
from interpose_sfm.pose.da3.architectures import NON_COMMERCIAL_REASON, PUBLISHED
from interpose_sfm.pose.da3.pictures import cut_alike
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator
from interpose_sfm.pose.scenes import SceneNetwork, place_views
from interpose_sfm.products import View, ViewPoses
from interpose_sfm.storage.content_keys import content_key


class Da3Estimator(PoseEstimator):
    """Depths, poses and focal lengths of all views from one forward pass of Depth Anything 3.

    The network is loaded at the first estimate. Its poses go by no matches, so those of the pair alone are proposals
    that the matches of the two photos can judge.
    """

    name = "da3"
    proposes = True

    def __init__(self, context: EstimatorContext) -> None:
        """Choose the options; loads nothing.

        Raises:
            ValueError: Options of something else.
        """
        options = Da3Options() if context.options is None else context.options
        if not isinstance(options, Da3Options):
            raise ValueError(f"estimator {self.name!r}: got {type(options).__name__}, expected Da3Options")
        self._context, self._options = context, options
        self._network: SceneNetwork | None = None

    @classmethod
    def missing_requirements(cls) -> dict[str, str]:
        """What is not installed: module -> pip command."""
        return network_code.missing_requirements()

    @classmethod
    def probe(cls) -> str:
        """Import the network classes and look for weights, which are not read.

        Raises:
            ValueError: No weights are here.
        """
        code = network_code.load_network_code()
        here = [size for size in PUBLISHED if checkpoint.find(size) is not None]
        told = [
            f"{item.repo.partition('/')[2]} ({item.licence}, {item.num_bytes / 1e6:.0f} MB) "
            + ("is here" if size in here else f"is not here: {checkpoint.fetch_command(size)}")
            for size, item in PUBLISHED.items()
        ]
        detail = f"depth-anything-3 {code.version} (Apache-2.0); weights: {'; '.join(told)}; {NON_COMMERCIAL_REASON}"
        if not here:
            raise ValueError(detail)
        return detail

    @classmethod
    def has_weights(cls, options: object | None) -> bool:
        """See `PoseEstimator`."""
        weights = (options if isinstance(options, Da3Options) else Da3Options()).da3_weights
        if weights.lower() == checkpoint.AUTO:
            return any(checkpoint.find(size) is not None for size in PUBLISHED)
        return weights.lower() not in PUBLISHED or checkpoint.find(weights.lower()) is not None

    @property
    def traits(self) -> EstimatorTraits:
        """See `EstimatorTraits`."""
        key = content_key(self._options, self._loaded().identity)
        return EstimatorTraits(gains_from_more_views=False, trusts_focal_lengths=False, settings_key=key)

    def estimate(self, views: Sequence[View]) -> ViewPoses:
        """See `PoseEstimator`."""
        if len(views) < 2:
            raise ValueError(f"got {len(views)} views, expected at least A and B")
        crops = cut_alike([view.image for view in views], self._options.da3_size_px)
        guess = self._loaded().guess([crop.image for crop in crops])
        return place_views(guess, views, crops, (self._context.features(views[0]), self._context.features(views[-1])))

    def close(self) -> None:
        """Let go of the network; the next estimate loads it again."""
        self._network = None

    def _loaded(self) -> SceneNetwork:
        if self._network is None:
            self._network = network.load_network(self._options)
        return self._network
