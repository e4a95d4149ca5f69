"""Stage 1 of a run: photos, with their masks, positions and known poses, from a folder into the output folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from interpose_sfm.colmap import databases
from interpose_sfm.colmap.known_poses import read_known_poses
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.photos import collect, masks
from interpose_sfm.photos.position_file import read_positions
from interpose_sfm.products import PhotoSet
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.atomic import remove_path
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows import known_start
from interpose_sfm.workflows.video_frames import FrameStore


@dataclass(frozen=True)
class PhotoStage:
    """The stage of one run, in a locked workspace.

    Attributes:
        workspace: Its output folder.
        options: Of all stages.
        log: Times, warnings and progress.
    """

    workspace: Workspace
    options: ReconstructOptions
    log: RunLog

    def collect(self, photo_dir: Path, *, goes_on: bool = False) -> PhotoSet:
        """Stage 1: photos -> upright images, and what is left out.

        Args:
            photo_dir: Folder with photos, or a video.
            goes_on: Whether what an earlier run laid out stays: its masks where the options name none, and its images,
                so that other options of photos are refused.

        Raises:
            ValueError: See `collect.collect_photos`.
        """
        videos = FrameStore(self.workspace.frames_dir, self.options.photos.num_frames_target, self.log)
        chosen = self.options
        not_photos = (chosen.mask_path, chosen.generation.clip_store, *chosen.bridging.clip_dirs)
        with self.log.stage("photos"):
            photo_set = collect.collect_photos(
                photo_dir,
                self.workspace.images_dir,
                self.options.photos,
                lambda done, total: self.log.tell("photos", done, total),
                overwrite=self.options.overwrite,
                names_to_keep=None if chosen.database is None else databases.photo_names(chosen.database),
                frames_of=videos.frames_of if videos.num_frames_target else None,
                not_photos=[folder for folder in not_photos if folder is not None],
                same_options=goes_on,
            )
            videos.forget_others()
            self.log.warnings.extend(photo_set.notes)
        if self.options.database is not None:
            photo_set = self._only_in_database(photo_set, self.options.database)
        if self.options.mask_path is not None or not goes_on:
            self._lay_out_masks(photo_set, photo_dir)
        return self._with_known_poses(self._with_positions(photo_set), photo_dir)

    def _with_known_poses(self, photo_set: PhotoSet, photo_dir: Path) -> PhotoSet:
        """The photos with the cameras and poses that were handed in."""
        if self.options.known_poses is None or len(photo_set.photos) < 2:
            return photo_set
        known, note = known_start.known_views(read_known_poses(self.options.known_poses), photo_dir, photo_set)
        self.log.warnings.extend([note] if note else [])
        return replace(photo_set, known=known)

    def _with_positions(self, photo_set: PhotoSet) -> PhotoSet:
        """The photos with the positions of a table in the place of their own."""
        if self.options.position_file is None:
            return photo_set
        positions = {
            photo_set.image_name(name): position
            for name, position in read_positions(self.options.position_file).items()
        }
        photos = tuple(replace(photo, gps=positions.get(photo.name, photo.gps)) for photo in photo_set.photos)
        unused = sorted(positions.keys() - {photo.name for photo in photos})
        if unused and photos:
            if len(unused) == len(positions):
                raise ValueError(
                    f"no photo has a name of {self.options.position_file}, such as {unused[0]}; expected names such as "
                    f"{photos[0].source or photos[0].name}"
                )
            self.log.warnings.append(
                f"{len(unused)} of {len(positions)} names in {self.options.position_file} are no photo, such as "
                f"{unused[0]}"
            )
        return replace(photo_set, photos=photos)

    def _lay_out_masks(self, photo_set: PhotoSet, photo_dir: Path) -> None:
        """Stage 1: masks -> upright ones beside the images."""
        mask_dir, target_dir = self.options.mask_path, self.workspace.masks_dir
        remove_path(target_dir)
        if mask_dir is None:
            return
        called = masks.names_beside(photo_dir, mask_dir, photo_set.photos)
        found = masks.lay_out_masks(mask_dir, photo_set.photos, target_dir, called)
        if found.missing:
            self.log.warnings.append(
                f"{len(found.missing)} of {len(photo_set.photos)} photos have no mask in {mask_dir}, such as "
                f"{found.missing[0]} (expected {found.missing[0]}.png)"
            )
        if found.hidden:
            text = f"the masks of {len(found.hidden)} photos hide all of them, so that nothing can be matched"
            self.log.warnings.append(f"{text}, such as that of {found.hidden[0]}; what is black is ignored")

    def _only_in_database(self, photo_set: PhotoSet, database_path: Path) -> PhotoSet:
        """The photos that a handed-in database holds; says which it does not."""
        with TemporaryDirectory(prefix="interpose_sfm-") as folder:
            databases.copy_database(database_path, Path(folder) / "copy.db")
            databases.check(Path(folder) / "copy.db")
            if databases.has_rigs(Path(folder) / "copy.db"):
                raise ValueError(
                    f"{database_path} has rigs of several cameras, which links between single photos do not know; hand "
                    "in a database in which each photo is a frame of its own, or map it with COLMAP alone"
                )
            cameras = databases.cameras(Path(folder) / "copy.db")
        kept = []
        for photo in photo_set.photos:
            camera = cameras.get(photo.name)
            if camera is None:
                self.log.warnings.append(f"{photo.name} is not in the database and is left out")
            elif (camera.width_px, camera.height_px) != (photo.width_px, photo.height_px):
                raise ValueError(
                    f"{photo.name} has {photo.width_px} x {photo.height_px} px upright, the database says "
                    f"{camera.width_px} x {camera.height_px}; hand in the photos that the database was made from"
                )
            else:
                kept.append(photo)
        missing = sorted(cameras.keys() - {photo.name for photo in kept})
        if missing:
            raise ValueError(
                f"the database names {len(missing)} photos that the folder does not hold as usable photos, such as "
                f"{missing[0]}; hand in the folder that the database was made from"
            )
        return replace(photo_set, photos=tuple(kept))
