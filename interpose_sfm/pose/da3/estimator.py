"""The pose estimator `da3`."""

from __future__ import annotations

from interpose_sfm.options import Da3Options
from interpose_sfm.pose.da3 import checkpoint, network, network_code
from interpose_sfm.pose.da3.architectures import NON_COMMERCIAL_REASON, PUBLISHED
from interpose_sfm.pose.scene_estimator import SceneEstimator
from interpose_sfm.pose.scenes import SceneNetwork


class Da3Estimator(SceneEstimator[Da3Options]):
    """Depth Anything 3, which is told nothing but the pictures."""

    name = "da3"

    @classmethod
    def options_class(cls) -> type[Da3Options]:
        """See `SceneEstimator`."""
        return Da3Options

    @classmethod
    def size_px(cls, options: Da3Options) -> int:
        """See `SceneEstimator`."""
        return options.da3_size_px

    @classmethod
    def load_network(cls, options: Da3Options) -> SceneNetwork:
        """See `SceneEstimator`."""
        return network.load_network(options)

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
        if not any(checkpoint.find(size) is not None for size in PUBLISHED):
            raise ValueError(f"no weights; get some with: {checkpoint.fetch_command('small')}")
        return f"depth-anything-3 {code.version}"

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        told = [
            f"{item.repo.partition('/')[2]} ({item.licence}, {item.num_bytes / 1e6:.0f} MB) "
            + ("is here" if checkpoint.find(size) is not None else f"is not here: {checkpoint.fetch_command(size)}")
            for size, item in PUBLISHED.items()
        ]
        return f"code Apache-2.0; weights: {'; '.join(told)}; {NON_COMMERCIAL_REASON}"

    @classmethod
    def has_weights(cls, options: object | None) -> bool:
        """See `PoseEstimator`."""
        weights = cls._chosen(options).da3_weights
        if weights.lower() == checkpoint.AUTO:
            return any(checkpoint.find(size) is not None for size in PUBLISHED)
        return weights.lower() not in PUBLISHED or checkpoint.find(weights.lower()) is not None
