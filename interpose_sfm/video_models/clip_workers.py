"""Workers of an engine that make clips in other processes, each with a model of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from interpose_sfm.options import BridgingOptions, GenerationOptions
from interpose_sfm.photos.pictures import read_rgb
from interpose_sfm.products import ImageArray, ImagePair
from interpose_sfm.video_models.clip_plans import ClipPlan, ClipPrompt, Making, ModelMaker
from interpose_sfm.video_models.devices import worker_devices
from interpose_sfm.video_models.generated import GeneratedClips
from interpose_sfm.video_models.protocol import GenerationContext


@dataclass(frozen=True, kw_only=True)
class ClipWorkerMaker:
    """Makes a `ClipWorker`.

    Attributes:
        name: Of the generator.
        make_model: Builds the model for a device.
        photo_names, image_dir, bridging, generation: See `GenerationContext`.
        clip_store: Folder of the clips.
        wait: Whether to wait for clips that another process has claimed.
    """

    name: str
    make_model: ModelMaker
    photo_names: tuple[str, ...]
    image_dir: Path
    bridging: BridgingOptions
    generation: GenerationOptions
    clip_store: Path
    wait: bool

    def __call__(self) -> ClipWorker:
        """Load nothing yet; the model loads with its first clip."""
        return ClipWorker(self)


class ClipWorker:
    """Makes clips, one after the other."""

    def __init__(self, maker: ClipWorkerMaker) -> None:
        @lru_cache(maxsize=4)
        def load_image(name: str) -> ImageArray:
            return read_rgb(maker.image_dir / name)

        context = GenerationContext(
            photo_names=maker.photo_names,
            load_image=load_image,
            bridging=maker.bridging,
            generation=maker.generation,
            store_dir=maker.clip_store,
        )
        devices = worker_devices(maker.generation.video_device)[:1]  # the engine says which one that is
        self._clips = GeneratedClips(maker.name, maker.make_model, devices, context, _NoPrompts())
        self._wait = maker.wait

    def __call__(self, plan: ClipPlan) -> Making:
        """Make a clip, unless another process has claimed it."""
        with self._clips.store.shared():
            return self._clips.make_claimed(plan, wait=self._wait)

    def close(self) -> None:
        """Free the memory of the model."""
        self._clips.close()


class _NoPrompts:
    """Of workers, whose plans say already what clips are to show."""

    def prompts(self, pair: ImagePair) -> Sequence[ClipPrompt]:
        """None, of no pair."""
        return ()

    def close(self) -> None:
        """Nothing to free."""
