"""A program that registers photo after photo by itself, in the manner of pycolmap's example of a custom mapper.

Usage: python_mapper.py DATABASE IMAGE_DIR OUTPUT

It never calls ``pycolmap.incremental_mapping``; what it does not register can be had with ``interpose_sfm.extend``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pycolmap


def start(pipeline: pycolmap.IncrementalPipeline, mapper: pycolmap.IncrementalMapper) -> bool:
    """Find, register and triangulate the first pair, at a smaller angle where there is none at the usual one."""
    options, mapper_options = pipeline.options, pipeline.options.get_mapper()
    found = None
    for _ in range(3):
        mapper.reset_initialization_stats()
        found = found or mapper.find_initial_image_pair(mapper_options, -1, -1)
        mapper_options.init_min_tri_angle /= 2
    if found is None:
        return False
    pair, cam2_from_cam1 = found
    mapper.register_initial_image_pair(mapper_options, *pair, cam2_from_cam1)
    for image_id in pair:
        mapper.triangulate_image(options.get_triangulation(), image_id)
    mapper.adjust_global_bundle(mapper_options, options.get_global_bundle_adjustment())
    mapper.reconstruction.normalize()
    mapper.filter_points(mapper_options)
    return mapper.reconstruction.num_points3D() > 0


def grow(pipeline: pycolmap.IncrementalPipeline, mapper: pycolmap.IncrementalMapper) -> None:
    """Register further photos until none can be."""
    options, mapper_options = pipeline.options, pipeline.options.get_mapper()
    while True:
        candidates = mapper.find_next_images(mapper_options, structure_less=False)
        registered = next((i for i in candidates if mapper.register_next_image(mapper_options, i)), None)
        if registered is None:
            return
        mapper.triangulate_image(options.get_triangulation(), registered)
        mapper.iterative_local_refinement(
            options.ba_local_max_refinements,
            options.ba_local_max_refinement_change,
            mapper_options,
            options.get_local_bundle_adjustment(),
            options.get_triangulation(),
            registered,
        )


def main(database_path: Path, image_dir: Path, output: Path) -> dict[int, pycolmap.Reconstruction]:
    """Models of at least three photos, written to the output folder."""
    options = pycolmap.IncrementalPipelineOptions(min_model_size=3, num_threads=1, random_seed=0)
    options.image_path = image_dir
    manager = pycolmap.ReconstructionManager()
    with pycolmap.Database.open(database_path) as database:
        pipeline = pycolmap.IncrementalPipeline(options, database, manager)
    mapper = pycolmap.IncrementalMapper(pipeline.database_cache)
    while True:
        index = manager.add()
        mapper.begin_reconstruction(manager.get(index))
        if not start(pipeline, mapper):
            mapper.end_reconstruction(True)
            manager.delete(index)
            break
        grow(pipeline, mapper)
        mapper.end_reconstruction(False)
        if mapper.num_total_reg_images() >= pipeline.database_cache.num_images():
            break
    output.mkdir(exist_ok=True, parents=True)
    manager.write(output)
    return {index: manager.get(index) for index in range(manager.size())}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
