"""Clips that were made elsewhere or before: video files and folders of frames on disk.

`clips.files` says how files are named, `clips.reading` how their frames and the photos are brought together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from interpose_sfm.clips.files import index_clips
from interpose_sfm.clips.protocol import GeneratorContext, VideoGenerator, no_clip
from interpose_sfm.clips.reading import ClipReader
from interpose_sfm.clips.record import record_of, recorded_ends
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, GeneratorKind, ImagePair


class ClipsGenerator(VideoGenerator):
    """Serves the files of ``BridgingOptions.clip_dir``.

    ``request.index`` is the number of the file among those of the pair. The direction is the file's own, so
    ``request.backwards`` and the seed change nothing; frames always come in A to B order.
    """

    name = "clips"
    kind = GeneratorKind.FILES
    requires: ClassVar[Mapping[str, str]] = MappingProxyType({"av": "pip install 'interpose_sfm[video]'"})

    def __init__(self, context: GeneratorContext) -> None:
        """Index the clip folder.

        Raises:
            ValueError: No folder is given or it does not exist, ambiguous file names, or a faulty ``clips.json``.
        """
        folder = context.options.clip_dir
        if folder is None:
            raise ValueError("the generator 'clips' needs a folder with clips: set clip_dir")
        self._files = index_clips(folder, context.photo_names, recorded_ends)
        self._reader = ClipReader(self.name, context.load_image, context.options)

    def num_clips(self, pair: ImagePair) -> int:
        """Number of files for the pair, in either direction."""
        return len(self._files.get(ImagePair.sorted(pair.a, pair.b), ()))

    def num_existing(self, pair: ImagePair) -> int:
        """All of them."""
        return self.num_clips(pair)

    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        """Read a file. Where a record lies beside it the mapping is taken from there, else it is measured.

        Returns:
            The clip, or one with status NO_CLIP, UNREADABLE or NOT_REGISTERED and the measured value in its detail.
        """
        files = self._files.get(ImagePair.sorted(pair.a, pair.b), ())
        if not 0 <= request.index < len(files):
            detail = f"the clip folder has {len(files)} clips for this pair"
            return no_clip(pair, self.name, f"clips-{request.index}", ClipStatus.NO_CLIP, detail)
        file = files[request.index]
        return self._reader.read(pair, file.path, file.name, file.first == pair.a, record_of(file.path))
