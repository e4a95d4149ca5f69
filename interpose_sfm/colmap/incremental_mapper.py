"""pycolmap's incremental mapper: base models, and their continuation once links are in the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpose_sfm.colmap import lifted_limits
from interpose_sfm.colmap.reconstruction import sort_models, with_database_keypoints
from interpose_sfm.options import BaseOptions, CallerOptions

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
) -> list[pycolmap.Reconstruction]:
    """Plain incremental mapping, or with lifted limits; models in ``output_dir``/0, 1, ..., largest first.

    Returns an empty list where COLMAP finds no initial pair.
    """

    def tell() -> None:
        if on_image is not None:
            on_image()

    models = incremental_mapping(
        database_path,
        image_dir,
        output_dir,
        mapper_options(options, seed, lifts_limits=lifts_limits),
        initial_image_pair_callback=tell,
        next_image_callback=tell,
    )
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
) -> pycolmap.Reconstruction:
    """Register further photos into a model of :func:`triangulate`, and adjust everything; COLMAP's mapper goes on.

    Args:
        work_dir: A folder for the models before and after, created here.
    """
    input_dir, output_dir = work_dir / "input", work_dir / "output"
    for folder in (input_dir, output_dir):
        folder.mkdir(parents=True)
    model.write(input_dir)
    models = incremental_mapping(
        database_path, image_dir, output_dir, mapper_options(options, seed), input_path=input_dir
    )
    return max(models.values(), key=lambda grown: grown.num_reg_images(), default=model)


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
