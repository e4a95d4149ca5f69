"""What can be known at the start of a run is asked at its start, not after COLMAP has mapped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from interpose_sfm.bridging.factory import check_generator
from interpose_sfm.clips.files import index_clips
from interpose_sfm.clips.record import recorded_ends
from interpose_sfm.clips.video import UnreadableClipError, stream_frames
from interpose_sfm.colmap import databases
from interpose_sfm.colmap.cameras import check_camera
from interpose_sfm.colmap.known_poses import read_known_poses
from interpose_sfm.engines.factory import ENGINES, is_elsewhere
from interpose_sfm.options import FallbackOptions, MatchingMethod, ReconstructOptions
from interpose_sfm.options.devices import AUTO as AUTO_DEVICE
from interpose_sfm.options.devices import check_device
from interpose_sfm.photos.collect import check_folders
from interpose_sfm.photos.position_file import read_positions
from interpose_sfm.photos.walk import read_image_list
from interpose_sfm.pose.factory import AUTO, POSE_ESTIMATORS
from interpose_sfm.retrieval.factory import RETRIEVERS
from interpose_sfm.retrieval.pair_list import EXPECTED as PAIRS_EXPECTED
from interpose_sfm.storage.run_stores import check_store_folder
from interpose_sfm.storage.texts import check_file
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows import known_start

Run = TypeVar("Run", bound=FallbackOptions)


def check_options(options: FallbackOptions) -> None:
    """Look at what options name: backends, devices, files and folders. Makes nothing, and loads no weights.

    Raises:
        ValueError: An unknown name, a device or cluster that is not there, a file or folder that cannot be used. The
            devices of workers on other machines are not looked at.
        MissingDependencyError: A backend needs what is not installed.
        PermissionError: The store cannot be written.
    """
    engine = ENGINES.resolve(options.execution.engine)
    engine.check(options.execution)
    if options.execution.store is not None:
        check_path(options.execution.store)
        check_store_folder(options.execution.store)
    check_generator(options.generator, options.bridging, options.generation)
    name = options.pose_estimator
    if name != AUTO and not POSE_ESTIMATORS.resolve(name).has_weights(options.estimator_options.get(name)):
        raise ValueError(f"pose estimator {name}: its weights are not here; `python -m interpose_sfm doctor` says how")
    if options.mask_path is not None and not options.mask_path.is_dir():
        raise ValueError(f"mask-path must be a folder that holds NAME.png for the photo NAME, got {options.mask_path}")
    for names, option, device in (
        (("dust3r",), "dust3r-device", options.dust3r.dust3r_device),
        ((AUTO, "da3"), "da3-device", options.da3.da3_device),
        (("mapanything",), "mapanything-device", options.mapanything.mapanything_device),
    ):
        if options.pose_estimator in names and device != AUTO_DEVICE:
            check_device(option, device)
    if options.matching.device != AUTO_DEVICE:
        check_device("device", options.matching.device, is_here=not engine.is_elsewhere(options.execution))
    if isinstance(options, ReconstructOptions):
        check_camera(options.camera_model, options.camera_params)
        if options.known_poses is not None:
            known_start.check_options(options)
            read_known_poses(options.known_poses)
        if options.position_file is not None:
            read_positions(options.position_file)
        if options.database is not None:
            databases.photo_names(options.database)
            if options.camera_params or options.camera_model != ReconstructOptions().camera_model:
                raise ValueError("a database has its own cameras: leave camera-model and camera-params out with it")
            if options.pairing.pair_list is not None or options.pairing.matching_method is not MatchingMethod.AUTO:
                raise ValueError("a database has its own matches: leave matching-method and pair-list out with it")
        if options.pairing.pair_list is not None:
            check_file(options.pairing.pair_list, "pair list", PAIRS_EXPECTED)
        RETRIEVERS.resolve(options.pairing.retriever)


def with_device(options: Run) -> Run:
    """The options with the device that learned matching runs on, for the report to tell.

    Raises:
        ValueError: See `check_options`.
    """
    is_here = not is_elsewhere(options.execution)
    return replace(options, matching=options.matching.on_device(is_here=is_here))


def check_path(path: Path) -> None:
    """Refuse what stands for another folder than was meant.

    Raises:
        ValueError: It is empty, or begins with a ``~`` that no shell has replaced.
    """
    if not os.fspath(path):
        raise ValueError("got an empty path, expected a folder; '.' is the current one")
    if Path(path).parts[:1] == ("~",) and not os.path.lexists("~"):
        raise ValueError(f"got {path}, and there is no folder ~ here: no shell has put your home folder in its place")


def check_run(photo_dir: Path, workspace: Workspace, options: ReconstructOptions) -> None:
    """Look at options and at the photo folder, before the output folder is made.

    Raises:
        ValueError, MissingDependencyError: See `check_options`; or the photo folder is none.
    """
    check_folders(photo_dir, workspace.images_dir)
    if photo_dir.is_file():
        _check_video(photo_dir, options.photos.num_frames_target)
    if options.photos.image_list is not None:
        read_image_list(options.photos.image_list)
    check_options(options)


def _check_video(path: Path, num_frames_target: int) -> None:
    """Look whether a video in the place of a photo folder gives frames, as far as its first one tells."""
    if not num_frames_target:
        raise ValueError(
            f"{path} is a video, and num-frames-target is 0; expected how many frames to take, or a folder"
        )
    try:
        next(iter(stream_frames(path, max_frame_px=64)))
    except StopIteration:
        problem = "it has no frames"
    except UnreadableClipError as error:
        problem = str(error)
    else:
        return
    raise ValueError(f"{path} cannot be read as a video ({problem}); expected one, or a folder of photos")


def check_clips(options: FallbackOptions, photo_names: Sequence[str]) -> None:
    """Look at the clip folders once the names of the photos are known.

    Raises:
        ValueError: An ambiguous file name or a faulty ``clips.json``.
    """
    for folder in options.bridging.clip_dirs:
        index_clips(folder, photo_names, recorded_ends, is_quiet=True)
