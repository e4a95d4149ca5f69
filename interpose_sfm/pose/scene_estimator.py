"""What pose estimators have in common whose network places all views in one forward pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from interpose_sfm.pose.pictures import cut_alike
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator
from interpose_sfm.pose.scenes import SceneNetwork, Told, place_views
from interpose_sfm.products import View, ViewPoses
from interpose_sfm.storage.content_keys import content_key

Options = TypeVar("Options")


class SceneEstimator(PoseEstimator, Generic[Options]):
    """Depths, poses and focal lengths of all views from one forward pass of a network.

    The network is loaded at the first estimate. Its poses go by no matches, so those of the pair alone are proposals
    that the matches of the two photos can judge.
    """

    proposes = True

    def __init__(self, context: EstimatorContext) -> None:
        """Choose the options; loads nothing.

        Raises:
            ValueError: Options of something else.
        """
        self._context, self._options = context, self._chosen(context.options)
        self._network: SceneNetwork | None = None

    @classmethod
    @abstractmethod
    def options_class(cls) -> type[Options]:
        """The group of options, which has defaults."""

    @classmethod
    @abstractmethod
    def size_px(cls, options: Options) -> int:
        """Longer side of the pictures that the network sees."""

    @classmethod
    @abstractmethod
    def load_network(cls, options: Options) -> SceneNetwork:
        """The network that the options name.

        Raises:
            ValueError: Code, weights or a device that are not here or not what they should be.
            MissingDependencyError: What the code imports is not installed.
        """

    @property
    def traits(self) -> EstimatorTraits:
        """See `EstimatorTraits`."""
        return EstimatorTraits(
            gains_from_more_views=False,
            trusts_focal_lengths=False,
            settings_key=content_key(self._options, self._loaded().identity),
        )

    def estimate(self, views: Sequence[View]) -> ViewPoses:
        """See `PoseEstimator`."""
        if len(views) < 2:
            raise ValueError(f"got {len(views)} views, expected at least A and B")
        crops = cut_alike([view.image for view in views], self.size_px(self._options))
        told = [Told.of(view, crop) for view, crop in zip(views, crops, strict=True)]
        guess = self._loaded().guess([crop.image for crop in crops], told)
        return place_views(guess, views, crops, (self._context.features(views[0]), self._context.features(views[-1])))

    def close(self) -> None:
        """Let go of the network; the next estimate loads it again."""
        self._network = None

    @classmethod
    def _chosen(cls, options: object) -> Options:
        """Options of a context, or the defaults.

        Raises:
            ValueError: Options of something else.
        """
        expected = cls.options_class()
        chosen = expected() if options is None else options
        if not isinstance(chosen, expected):
            raise ValueError(f"estimator {cls.name!r}: got {type(chosen).__name__}, expected {expected.__name__}")
        return chosen

    def _loaded(self) -> SceneNetwork:
        if self._network is None:
            self._network = self.load_network(self._options)
        return self._network
