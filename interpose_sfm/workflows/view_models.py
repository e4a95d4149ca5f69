"""Models in an interactive viewer, by viser: photos at their cameras, all points, links, before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.page.pictures import small_photo
from interpose_sfm.page.scene import WIDTH, Placement, point_arrays
from interpose_sfm.products import ImageArray, LinkVerdict, Pose
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.report import HeldBy, RunReport
from interpose_sfm.storage.names import refuse_links
from interpose_sfm.storage.workspace import Workspace, is_output_folder
from interpose_sfm.workflows.report_page import read_models, read_report

if TYPE_CHECKING:
    import pycolmap
    import viser

BEFORE, AFTER = "plain COLMAP", "with fallback"
_COLORS = {
    HeldBy.COLMAP: (31, 97, 180),
    HeldBy.LEARNED: (26, 127, 55),
    HeldBy.CLIP: (168, 75, 0),
    HeldBy.NETWORK: (122, 63, 208),
    HeldBy.JOINED: (11, 111, 131),
}
_ACCEPTED, _REFUSED = (26, 160, 70), (198, 40, 40)
_PHOTO_SIDE_PX = 320
_MAX_PHOTOS = 300  # of more, cameras are shown without their pictures, which a browser would not hold
_APART = 1.3 * WIDTH  # models have frames of their own, and stand side by side


@dataclass(frozen=True)
class LiveView:
    """A viewer that is being served.

    Attributes:
        server: Of viser.
        url: Its address.
        handles: What can be shown, by the name of the state: `BEFORE` and `AFTER`.
        num_cameras: Cameras of each.
        num_links: Links that are drawn in the final models.
    """

    server: viser.ViserServer
    url: str
    handles: Mapping[str, Sequence[Any]]
    num_cameras: Mapping[str, int]
    num_links: int

    def wait(self) -> None:
        """Serve until the process is told to stop."""
        while True:
            time.sleep(3600)


@contextmanager
def opened_view(
    output: Path, photos: Path | None = None, models: Path | None = None, host: str = "127.0.0.1", port: int = 8080
) -> Iterator[LiveView]:
    """Serve the models of an output folder to browsers, for the duration of a block. Nothing on disk is changed.

    Args:
        output: Output folder of a run, or the folder that the drop-in has left beside a database.
        photos: Folder of the photos; by default the copies in the output folder.
        models: Folder of the final models; by default ``sparse`` in the output folder.
        host: Address to listen at; the default is seen from this machine only.
        port: Port to listen at; the next free one is taken if it is not.

    Raises:
        ValueError: There is no model, or a file is damaged; the message says what to do.
        MissingDependencyError: viser is not installed.
    """
    try:
        import viser
    except ImportError as error:
        raise MissingDependencyError("the viewer needs viser; run: pip install viser") from error
    if not is_output_folder(Path(output)):
        raise ValueError(f"{output} is no output folder; expected PHOTOS_interpose of a run, or that of the drop-in")
    workspace = Workspace(Path(output))
    refuse_links(workspace.root)
    after = read_models(workspace.sparse_dir if models is None else Path(models))
    base = workspace.base_dir / "models"
    before = read_models(base if base.is_dir() else workspace.base_dir)
    if not (before or after):
        raise ValueError(f"{output} holds no model to look at; {workspace.report_path} says why for every photo")
    report = read_report(workspace.report_path) if workspace.report_path.is_file() else None
    server = viser.ViserServer(host=host, port=port, label="interpose_sfm", verbose=False)
    try:
        yield _filled(server, before, after, report, workspace.images_dir if photos is None else Path(photos))
    finally:
        server.stop()


def _filled(
    server: viser.ViserServer,
    before: Sequence[pycolmap.Reconstruction],
    after: Sequence[pycolmap.Reconstruction],
    report: RunReport | None,
    image_dir: Path,
) -> LiveView:
    """Put models, links and controls into a viewer."""
    server.scene.set_up_direction("+z")
    held_by = {} if report is None else {photo.name: photo.held_by for photo in report.photos}
    handles: dict[str, list[Any]] = {BEFORE: [], AFTER: []}
    num_cameras = {BEFORE: 0, AFTER: 0}
    clouds: list[Any] = []
    links: list[Any] = []
    for state, models in ((BEFORE, before), (AFTER, after)):
        for index, model in enumerate(models):
            poses = reconstruction.poses(model)
            points, colors = point_arrays(model)
            placement = Placement.of(list(poses.values()), points)
            shift = np.array([index * _APART, 0.0, 0.0])
            path = f"/{'before' if state == BEFORE else 'after'}/{index}"
            if len(points):
                places = (placement.drawn(points) + shift).astype(np.float32)
                clouds.append(server.scene.add_point_cloud(f"{path}/points", places, colors, point_size=0.02))
                handles[state].append(clouds[-1])
            frusta = _cameras(server, path, model, (placement, shift), image_dir, held_by if state == AFTER else {})
            handles[state] += frusta
            num_cameras[state] += len(frusta)
            if report is not None and state == AFTER:
                drawn = _links(server, path, poses, placement, shift, report)
                links += drawn
                handles[state] += drawn
    _add_controls(server, handles, clouds, links, AFTER if after else BEFORE)
    shown_host = "localhost" if server.get_host() in ("127.0.0.1", "0.0.0.0") else server.get_host()
    num_links = sum(len(handle.points) for handle in links)
    return LiveView(server, f"http://{shown_host}:{server.get_port()}", handles, num_cameras, num_links)


def _cameras(
    server: viser.ViserServer,
    path: str,
    model: pycolmap.Reconstruction,
    place: tuple[Placement, np.ndarray],
    image_dir: Path,
    held_by: dict[str, HeldBy | None],
) -> list[Any]:
    """A frustum for each photo; a click on it looks through its camera."""
    placement, shift = place
    images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
    frusta = []
    for number, image in enumerate(images):
        pose, camera = geometry.from_rigid3d(image.cam_from_world()), model.camera(image.camera_id)
        frustum = server.scene.add_camera_frustum(
            f"{path}/cameras/{number}",  # a name of a photo may hold anything
            fov=2.0 * float(np.arctan2(camera.height / 2.0, camera.mean_focal_length())),
            aspect=camera.width / camera.height,
            scale=0.04 * WIDTH,
            color=_COLORS.get(held_by.get(image.name) or HeldBy.COLMAP, _COLORS[HeldBy.COLMAP]),
            image=_photo(image_dir, image.name) if len(images) <= _MAX_PHOTOS else None,
            wxyz=_quaternion(placement.turn @ pose.rotation.T),
            position=placement.drawn(pose.inverse().translation) + shift,
        )
        frustum.on_click(_look_through(frustum))
        frusta.append(frustum)
    return frusta


def _look_through(frustum: Any) -> Callable[[Any], None]:
    def look(event: Any) -> None:
        event.client.camera.wxyz, event.client.camera.position = frustum.wxyz, frustum.position

    return look


def _links(
    server: viser.ViserServer,
    path: str,
    poses: dict[str, Pose],
    placement: Placement,
    shift: np.ndarray,
    report: RunReport,
) -> list[Any]:
    """Lines between the cameras of links, accepted ones and those that were refused."""
    found = []
    for name, color, is_wanted in (("accepted", _ACCEPTED, True), ("refused", _REFUSED, False)):
        ends = [
            [placement.drawn(poses[end].inverse().translation) + shift for end in (pair.a, pair.b)]
            for pair in report.pairs
            if pair.link is not None
            and (pair.verdict is LinkVerdict.ACCEPTED) is is_wanted
            and {pair.a, pair.b} <= poses.keys()
        ]
        if ends:
            lines = np.array(ends, np.float32)
            found.append(server.scene.add_line_segments(f"{path}/links/{name}", lines, color, thickness=0.02))
    return found


def _add_controls(
    server: viser.ViserServer, handles: dict[str, list[Any]], clouds: list[Any], links: list[Any], first: str
) -> None:
    states = [state for state in (BEFORE, AFTER) if handles[state]]
    state = server.gui.add_dropdown("Models", states, initial_value=first)
    size = server.gui.add_slider("Size of points", min=0.005, max=0.1, step=0.005, initial_value=0.02)
    has_links = server.gui.add_checkbox("Links", True)

    def update(_: Any = None) -> None:
        for name, own in handles.items():
            for handle in own:
                handle.visible = name == state.value and (has_links.value or handle not in links)
        for cloud in clouds:
            cloud.point_size = size.value

    for control in (state, size, has_links):
        control.on_update(update)
    update()


def _quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """w, x, y, z of a rotation matrix."""
    import pycolmap

    x, y, z, w = pycolmap.Rotation3d(rotation).quat.tolist()
    return w, x, y, z


def _photo(image_dir: Path, name: str) -> ImageArray | None:
    found = small_photo(image_dir, name, _PHOTO_SIDE_PX)
    return None if found is None else np.asarray(found[0])
