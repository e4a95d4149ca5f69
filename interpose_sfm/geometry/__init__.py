"""All pose mathematics: angles, distances and averages of poses, projection, triangulation.

Functions whose names end in ``_deg`` return degrees; rotation vectors are in radians and end in ``_rad``. ``...`` in a
shape stands for leading axes; these broadcast. Angles come from atan2 of sine and cosine, because arccos alone loses
half of the digits near 0 and 180 degrees. Relative poses have a unit translation, or zero for a pure rotation.
"""

from interpose_sfm.geometry.cameras import (
    from_colmap_camera,
    from_rigid3d,
    pixel_to_ray,
    project,
    to_colmap_camera,
    to_rigid3d,
    unit_rays,
)
from interpose_sfm.geometry.relative_poses import (
    NEAR_ZERO_BASELINE,
    average_pose,
    link_errors_deg,
    pose_distance_deg,
    pose_distance_matrix_deg,
    pose_distance_terms_deg,
    relative_pose,
    signed_pose_distance_deg,
    with_unit_translation,
)
from interpose_sfm.geometry.rotations import (
    direction_angle_deg,
    is_rotation,
    line_angle_deg,
    mean_direction,
    mean_rotation,
    median_rotation,
    nearest_rotation,
    rotation_angle_deg,
    rotation_exp,
    rotation_from_axis_angle,
    rotation_log,
    unit_vectors,
)
from interpose_sfm.geometry.similarities import Similarity, fit_similarity
from interpose_sfm.geometry.two_views import Triangulation, epipolar_errors_px, triangulate, triangulation_angles_deg

__all__ = [
    "NEAR_ZERO_BASELINE",
    "Similarity",
    "Triangulation",
    "average_pose",
    "direction_angle_deg",
    "epipolar_errors_px",
    "fit_similarity",
    "from_colmap_camera",
    "from_rigid3d",
    "is_rotation",
    "line_angle_deg",
    "link_errors_deg",
    "mean_direction",
    "mean_rotation",
    "median_rotation",
    "nearest_rotation",
    "pixel_to_ray",
    "pose_distance_deg",
    "pose_distance_matrix_deg",
    "pose_distance_terms_deg",
    "project",
    "relative_pose",
    "rotation_angle_deg",
    "rotation_exp",
    "rotation_from_axis_angle",
    "rotation_log",
    "signed_pose_distance_deg",
    "to_colmap_camera",
    "to_rigid3d",
    "triangulate",
    "triangulation_angles_deg",
    "unit_rays",
    "unit_vectors",
    "with_unit_translation",
]
