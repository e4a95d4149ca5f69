"""Clips that were made elsewhere or before: video files and folders of frames on disk.

`clips.files` says how files are named, `clips.reading` how their frames and the photos are brought together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from interpose_sfm.clips.files import ClipFile, check_any_clip_dir, index_clips
from interpose_sfm.clips.protocol import GeneratorContext, VideoGenerator, no_clip
from interpose_sfm.clips.reading import ClipReader
from interpose_sfm.clips.record import record_of, recorded_ends
from interpose_sfm.matching.ahead import at_once
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, GeneratorKind, ImagePair


@dataclass(frozen=True)
class _SourcedFile:
    """A file, the name of its clip, and the name of its folder."""

    clip: ClipFile
    name: str
    folder: str


class ClipsGenerator(VideoGenerator):
    """Serves the files of ``BridgingOptions.clip_dirs``.

    ``request.index`` is the number of the file among those of the pair, folder by folder. The direction is the file's
    own, so ``request.backwards`` and the seed change nothing; frames always come in A to B order. Where there are
    several folders the names of clips begin with the folder's.
    """

    name = "clips"
    kind = GeneratorKind.FILES
    requires: ClassVar[Mapping[str, str]] = MappingProxyType({"av": "pip install 'interpose_sfm[video]'"})

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        return "no weights: reads videos and folders of frames"

    def __init__(self, context: GeneratorContext) -> None:
        """Index the clip folders.

        Raises:
            ValueError: No folder is given or one does not exist, ambiguous file names, or a faulty ``clips.json``.
        """
        folders = context.options.clip_dirs
        check_any_clip_dir(folders)
        self._files: dict[ImagePair, list[_SourcedFile]] = {}
        for folder in folders:
            source = folder.absolute().name
            prefix = f"{source}/" if len(folders) > 1 else ""
            for pair, files in index_clips(folder, context.photo_names, recorded_ends).items():
                named = [_SourcedFile(file, prefix + file.name, source) for file in files]
                self._files.setdefault(pair, []).extend(named)
        self._reader = ClipReader(self.name, context.load_image, context.options)
        self._read: dict[tuple[ImagePair, int], Clip] = {}

    def num_clips(self, pair: ImagePair) -> int:
        """Number of files for the pair, in either direction."""
        return len(self._of(pair))

    def num_existing(self, pair: ImagePair) -> int:
        """All of them."""
        return self.num_clips(pair)

    def sources(self, pair: ImagePair) -> tuple[str, ...]:
        """The generator that the record beside a file names, else the folder that the file lies in."""
        records = [(record_of(file.clip.path), file.folder) for file in self._of(pair)]
        return tuple(folder if record is None else record.source for record, folder in records)

    def prepare(self, pair: ImagePair, requests: Sequence[ClipRequest]) -> None:
        """Read the files of a pair, several at once: what `generate` is asked for next is held until then."""
        indices = [request.index for request in requests if 0 <= request.index < self.num_clips(pair)]
        clips = at_once(lambda index: self._clip(pair, index), indices)
        self._read = {(pair, index): clip for index, clip in zip(indices, clips, strict=True)}

    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        """Read a file, if `prepare` has not.

        Where a record lies beside it the mapping is taken from there, else it is measured.

        Returns:
            The clip, or one with status NO_CLIP, UNREADABLE or NOT_REGISTERED and the measured value in its detail.
        """
        files = self._of(pair)
        if not 0 <= request.index < len(files):
            detail = f"the clip folder has {len(files)} clips for this pair"
            return no_clip(pair, self.name, f"clips-{request.index}", ClipStatus.NO_CLIP, detail)
        read = self._read.pop((pair, request.index), None)
        return self._clip(pair, request.index) if read is None else read

    def _clip(self, pair: ImagePair, index: int) -> Clip:
        file = self._of(pair)[index]
        clip = file.clip
        return self._reader.read(pair, clip.path, file.name, clip.first == pair.a, record_of(clip.path))

    def _of(self, pair: ImagePair) -> Sequence[_SourcedFile]:
        return self._files.get(ImagePair.sorted(pair.a, pair.b), ())
