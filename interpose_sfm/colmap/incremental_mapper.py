"""pycolmap's incremental mapper: base models, and their continuation once links are in the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpose_sfm import geometry
from interpose_sfm.colmap import databases, known_model, lifted_limits
from interpose_sfm.colmap.reconstruction import (
    check_written,
    registered_names,
    sort_models,
    with_database_keypoints,
)
from interpose_sfm.options import BaseOptions, CallerOptions
from interpose_sfm.products import ImagePair, Link, Pose

if TYPE_CHECKING:
    import pycolmap

REPLACED = "replaced_by_interpose_sfm"
"""Attribute by which a stand-in for ``pycolmap.incremental_mapping`` gives the original away."""


def mapper_options(
    options: BaseOptions, seed: int, *, lifts_limits: bool = False
) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's own defaults, or a caller's, but for the model size, which would drop small collections.

    Args:
        lifts_limits: With those of `lifted_limits.lift`.
    """
    import pycolmap

    values = dict(options.pipeline) if isinstance(options, CallerOptions) else {}
    given = {"num_threads": options.num_threads, "random_seed": seed, **values}
    pipeline = pycolmap.IncrementalPipelineOptions({**given, "min_model_size": options.min_model_size})
    if not options.refine_intrinsics:
        pipeline.ba_refine_focal_length = pipeline.ba_refine_extra_params = False
        pipeline.mapper.abs_pose_refine_focal_length = pipeline.mapper.abs_pose_refine_extra_params = False
    return lifted_limits.lift(pipeline) if lifts_limits else pipeline


def incremental_mapping(*args: Any, **kwargs: Any) -> dict[int, pycolmap.Reconstruction]:
    """``pycolmap.incremental_mapping`` itself, also while `interpose_sfm.installed` has put the hook in its place."""
    import pycolmap

    mapping: Any = pycolmap.incremental_mapping
    models: dict[int, pycolmap.Reconstruction] = getattr(mapping, REPLACED, mapping)(*args, **kwargs)
    return models


def map_base(
    database_path: Path,
    image_dir: Path,
    output_dir: Path,
    options: BaseOptions,
    seed: int,
    on_image: Callable[[], None] | None = None,
    *,
    lifts_limits: bool = False,
    names: Sequence[str] = (),
) -> list[pycolmap.Reconstruction]:
    """Plain incremental mapping, or with lifted limits; models in ``output_dir``/0, 1, ..., largest first.

    Only of some photos where ``names`` has any. Returns an empty list where COLMAP finds no initial pair.

    Raises:
        OSError: The disk is full.
    """

    def tell() -> None:
        if on_image is not None:
            on_image()

    pipeline = mapper_options(options, seed, lifts_limits=lifts_limits)
    if names:
        pipeline.image_names = list(names)
    models = incremental_mapping(
        database_path,
        image_dir,
        output_dir,
        pipeline,
        initial_image_pair_callback=tell,
        next_image_callback=tell,
    )
    for index in models:
        check_written(output_dir / str(index))
    return sort_models(models.values(), options.min_model_size)


def triangulate(
    model: pycolmap.Reconstruction,
    database_path: Path,
    image_dir: Path,
    work_dir: Path,
    options: BaseOptions,
    seed: int,
) -> pycolmap.Reconstruction:
    """Triangulate what a database has gained since a model was made; the poses stay where they are.

    Args:
        model: A model of the same database before it gained key points, or with all of them.
        work_dir: A folder for what pycolmap writes, created here.
    """
    import pycolmap

    work_dir.mkdir(parents=True)
    return pycolmap.triangulate_points(
        with_database_keypoints(model, database_path),
        database_path,
        image_dir,
        work_dir,
        clear_points=False,
        options=mapper_options(options, seed),
    )


def continue_model(
    model: pycolmap.Reconstruction,
    database_path: Path,
    image_dir: Path,
    work_dir: Path,
    options: BaseOptions,
    seed: int,
    *,
    names: Sequence[str] = (),
    held: Mapping[str, Pose] | None = None,
    lifts_limits: bool = False,
) -> pycolmap.Reconstruction:
    """Register further photos into a model of :func:`triangulate`, and adjust everything; COLMAP's mapper goes on.

    What does not fit into the model stays out of it: nothing else is mapped.

    Args:
        work_dir: A folder for the models before and after, created here.
        names: The photos that may be in it; empty for all.
        held: cam_from_world of photos whose poses are known. A model that has some gets all of them, and neither moves
            the photos that it has nor refines their cameras; any other gets none.
    """
    held = held or {}
    is_held = not registered_names(model).isdisjoint(held)
    if held and not is_held:
        names = [name for name in names or sorted(databases.camera_ids(database_path)) if name not in held]
    input_dir, output_dir = work_dir / "input", work_dir / "output"
    for folder in (input_dir, output_dir):
        folder.mkdir(parents=True)
    model.write(input_dir)
    pipeline = mapper_options(options, seed, lifts_limits=lifts_limits)
    pipeline.image_names = list(names)
    pipeline.multiple_models = False  # else all photos that the model leaves out are mapped besides, model by model
    if is_held:
        known_model.hold(pipeline, model, held)
    models = incremental_mapping(database_path, image_dir, output_dir, pipeline, input_path=input_dir)
    grown = next(iter(models.values()), model)
    return known_model.put_back(grown, held, database_path) if is_held else grown


def map_remaining(
    names: Sequence[str],
    database_path: Path,
    image_dir: Path,
    output_dir: Path,
    options: BaseOptions,
    seed: int,
    *,
    lifts_limits: bool = False,
) -> list[pycolmap.Reconstruction]:
    """Models of some of the photos only, largest first."""
    pipeline = mapper_options(options, seed, lifts_limits=lifts_limits)
    pipeline.image_names = list(names)
    output_dir.mkdir(parents=True, exist_ok=True)
    models = incremental_mapping(database_path, image_dir, output_dir, pipeline)
    return sort_models(models.values(), options.min_model_size)


def start_from_link(link: Link, database_path: Path, options: BaseOptions, seed: int) -> pycolmap.Reconstruction | None:
    """A model of a link's two photos by its pose, whatever motion that is, for `continue_model` to go on from.

    Cameras are held while the two photos are adjusted, since two views alone do not determine a focal length.

    Args:
        link: Its matches are in the database.

    Returns:
        None where too few points are left.
    """
    import pycolmap

    pipeline = mapper_options(options, seed, lifts_limits=True)
    cache = _cache_of(link.pair, database_path, pipeline)
    ids = {image.name: image_id for image_id, image in cache.images.items()}
    if len(ids) < 2:
        return None
    mapper, model = pycolmap.IncrementalMapper(cache), pycolmap.Reconstruction()
    mapper.begin_reconstruction(model)
    first, second = ids[link.pair.a], ids[link.pair.b]
    # By position: the names of these arguments are in another order in pycolmap 4.2.1.
    mapper.register_initial_image_pair(pipeline.get_mapper(), first, second, geometry.to_rigid3d(link.b_from_a))
    for image_id in (first, second):
        mapper.triangulate_image(pipeline.get_triangulation(), image_id)
    if model.num_points3D() >= lifted_limits.MIN_POINTS:
        adjustment = pipeline.get_global_bundle_adjustment()
        adjustment.refine_focal_length = adjustment.refine_principal_point = adjustment.refine_extra_params = False
        mapper.adjust_global_bundle(pipeline.get_mapper(), adjustment)
        model.normalize()
        mapper.filter_points(pipeline.get_mapper())
        mapper.filter_frames(pipeline.get_mapper())
    is_start = model.num_reg_images() == 2 and model.num_points3D() >= lifted_limits.MIN_POINTS
    mapper.end_reconstruction(False)
    return model if is_start else None


def _cache_of(
    pair: ImagePair, database_path: Path, pipeline: pycolmap.IncrementalPipelineOptions
) -> pycolmap.DatabaseCache:
    import pycolmap

    given = pycolmap.DatabaseCacheOptions()
    given.min_num_matches = pipeline.min_num_matches
    given.ignore_watermarks = pipeline.ignore_watermarks
    given.image_names = {pair.a, pair.b}
    with pycolmap.Database.open(database_path) as database:
        return pycolmap.DatabaseCache.create(database, given)
