"""The pose estimator `dust3r`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from interpose_sfm.options import AlignmentMethod, Dust3rOptions, PairSelection
from interpose_sfm.options.devices import pick_device
from interpose_sfm.pose.dust3r import checkpoint, network, network_code, published_alignment
from interpose_sfm.pose.dust3r.inference import CachedInference, PairKey, all_ordered_pairs, tying_pairs
from interpose_sfm.pose.dust3r.stores import NetworkStores, open_network_stores
from interpose_sfm.pose.point_maps.alignment import Alignment, Edge, align_pairs
from interpose_sfm.pose.point_maps.pair_geometry import PairPose, PairSamples, focal_px, pair_pose, sample
from interpose_sfm.pose.point_maps.reading import read_alignment
from interpose_sfm.pose.protocol import EstimatorContext, EstimatorTraits, PoseEstimator
from interpose_sfm.products import Intrinsics, PoseStatus, View, ViewPoses
from interpose_sfm.storage.content_keys import content_key

MAX_GROUP = 4  # two photos of each side: all pairs with A or B are run, which eight would make 26
MAX_SAMPLED_PAIRS = 160  # almost a megabyte each; one weak pair has a hundred by default


class Dust3rEstimator(PoseEstimator):
    """Point maps of pairs of views from DUSt3R's network, aligned to poses of all of them in one scale.

    The network is loaded at the first estimate, and its stores are opened then. Subsets of one clip share its work:
    every image is encoded once, every ordered pair decoded and measured once.
    """

    name = "dust3r"
    proposes = True

    def __init__(self, context: EstimatorContext) -> None:
        """Choose the options; loads nothing.

        Raises:
            ValueError: Options of something else.
        """
        options = Dust3rOptions() if context.options is None else context.options
        if not isinstance(options, Dust3rOptions):
            raise ValueError(f"estimator {self.name!r}: got {type(options).__name__}, expected Dust3rOptions")
        self._context, self._options = context, options
        self._open_stores = ExitStack()
        self._inference: CachedInference | None = None
        self._identity = ""
        self._samples: OrderedDict[PairKey, PairSamples] = OrderedDict()
        self._pair_poses: dict[tuple[PairKey, Intrinsics], PairPose | None] = {}
        self._focals: dict[tuple[str, str], float | None] = {}

    @classmethod
    def missing_requirements(cls) -> dict[str, str]:
        """What is not installed: module -> pip command."""
        return network_code.missing_requirements()

    @classmethod
    def probe(cls) -> str:
        """Import the network code; says where it is from. Weights are not looked for."""
        code = network_code.find_network_code()
        code.module("model")
        return f"network code from {code.source}"

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        weights = Dust3rOptions().dust3r_weights
        where = "here" if checkpoint.is_here(weights) else "not here, fetched at the first use"
        return f"code and weights CC BY-NC-SA 4.0, for non-commercial use only; weights {weights} are {where}"

    @property
    def traits(self) -> EstimatorTraits:
        """See `EstimatorTraits`."""
        is_economical = self._options.dust3r_pairs is PairSelection.ECONOMICAL
        self._load()
        return EstimatorTraits(
            frame_pool=self._options.dust3r_pool if is_economical else None,
            gains_from_more_views=False,
            trusts_focal_lengths=False,
            group_size=MAX_GROUP,
            settings_key=content_key(self._options, self._identity),
        )

    @property
    def inference(self) -> CachedInference:
        """The network with its caches."""
        return self._load()

    def estimate(self, views: Sequence[View]) -> ViewPoses:
        """See `PoseEstimator`."""
        if len(views) < 2:
            raise ValueError(f"got {len(views)} views, expected at least A and B")
        inference = self._load()
        keys = [view.key for view in views]
        pairs = self._pairs(keys)
        inference.compute(views, pairs)
        samples = {(keys.index(i), keys.index(j)): self._sampled((i, j)) for i, j in pairs}
        cameras = [self._camera(view, views[-1] if k == 0 else views[0]) for k, view in enumerate(views)]
        alignment = self._align(samples, cameras, keys)
        if alignment.cam_from_first[-1] is None:
            status = PoseStatus.FEW_INLIERS if len(views) == 2 else PoseStatus.DISCONNECTED
            return ViewPoses(status, (alignment.cam_from_first[0], *(None,) * (len(views) - 1)))
        return read_alignment(
            alignment,
            samples,
            inference.point_maps((keys[-1], keys[0])),
            views,
            [inference.crop(view) for view in views],
            (self._context.features(views[0]), self._context.features(views[-1])),
        )

    def close(self) -> None:
        """Close the stores and let go of the network; the next estimate opens and loads them again."""
        self._inference = None
        self._open_stores.close()

    def _load(self) -> CachedInference:
        if self._inference is None:
            pair_network = network.load_network(self._options)
            self._identity = pair_network.identity
            self._inference = CachedInference(
                pair_network, self._options.dust3r_size_px, self._options.dust3r_batch_size, self._stores()
            )
        return self._inference

    def _stores(self) -> NetworkStores | None:
        folder = self._context.store_dir
        return None if folder is None else self._open_stores.enter_context(open_network_stores(folder))

    def _pairs(self, keys: Sequence[str]) -> list[PairKey]:
        if self._options.dust3r_pairs is PairSelection.EXACT:
            return all_ordered_pairs(keys)
        return tying_pairs(keys)

    def _sampled(self, pair: PairKey) -> PairSamples:
        if pair not in self._samples:
            self._samples[pair] = sample(self._load().point_maps(pair))
            while len(self._samples) > MAX_SAMPLED_PAIRS:
                self._samples.popitem(last=False)
        self._samples.move_to_end(pair)
        return self._samples[pair]

    def _camera(self, view: View, end: View) -> Intrinsics:
        """Camera of the view's crop; a guessed focal length is replaced by that of the view's point map beside A or B.

        Always the same pair is asked, so that a view has one focal length in all subsets.
        """
        crop = self._load().crop(view)
        camera = crop.crop_intrinsics(view.intrinsics)
        if camera.is_trusted:
            return camera
        key = view.key, end.key
        if key not in self._focals:
            view_samples = self._sampled(key).of_i
            self._focals[key] = focal_px([view_samples], crop.shape, (camera.cx_px, camera.cy_px))
        return replace(camera, focal_px=self._focals[key] or camera.focal_px)

    def _align(
        self, samples: Mapping[Edge, PairSamples], cameras: Sequence[Intrinsics], keys: Sequence[str]
    ) -> Alignment:
        if self._options.alignment is AlignmentMethod.DUST3R:
            maps = {(i, j): self._load().point_maps((keys[i], keys[j])) for i, j in samples}
            device = pick_device(self._options.dust3r_device, "dust3r-device")
            return published_alignment.align(maps, cameras, device, self._context.seed)
        poses = {}
        for (i, j), pair_samples in samples.items():
            key = (keys[i], keys[j]), cameras[j]
            if key not in self._pair_poses:
                self._pair_poses[key] = pair_pose(pair_samples.of_j, cameras[j], self._context.seed)
            pose = self._pair_poses[key]
            if pose is not None:
                poses[i, j] = pose
        return align_pairs(samples, poses, tuple(cameras))
