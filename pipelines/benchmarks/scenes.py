"""What every data set is read into: scenes of photos with true poses, in OpenCV's axes.

A loader is two functions: which folders below the data folder hold a scene, and the scene of one of them. Damage costs
what it touches: an entry that cannot be read costs its photo, and a file that all photos need costs its scene; either
is told with its reason in ``left_out``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, Intrinsics, Pose

PICTURES = (".jpg", ".png", ".jpeg", ".tif", ".tiff", ".webp", ".ppm")
WHOLE_SCENE = "scene"
"""Key of `Scene.left_out` for what costs a whole scene."""

DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, SyntaxError),
    Image.DecompressionBombError,
)
"""What damaged text, JSON, HDF5 files and pictures raise, and files of another data set by the same name."""

_QUATERNION_TOLERANCE = 1e-2  # of its length from one: files round it, and wrong columns are off by more
_ROTATION_TOLERANCE = 1e-3
_ASPECT_TOLERANCE = 5e-3  # of the height: scaled copies have whole pixels

_ORIENTATION = 0x0112
_UPRIGHT_FROM_STORED = {  # EXIF orientation -> what turns the axes of the stored picture into those of the upright one
    3: ((-1.0, 0.0), (0.0, -1.0)),
    6: ((0.0, -1.0), (1.0, 0.0)),
    8: ((0.0, 1.0), (-1.0, 0.0)),
}
_MIRRORED = (2, 4, 5, 7)
_BY_ANGLE = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FOV", "OPENCV_FISHEYE")
_ALSO_BY_ANGLE = ("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")


@dataclass(frozen=True)
class ScenePhoto:
    """A photo whose pose is known.

    Attributes:
        name: POSIX path below the folder of the scene, as the data set writes it.
        path: The file.
        cam_from_world: In OpenCV's axes (x right, y down, z forward) of the picture as EXIF turns it upright, as the
            package takes it; in the unit of the scene.
        camera: Its true camera in COLMAP's pixels (the upper left corner of the upright image is 0, 0); None where the
            data set does not tell it.
        number: Its id in the data set, where lists of photos name it by that.
    """

    name: str
    path: Path
    cam_from_world: Pose
    camera: Intrinsics | None = None
    number: int | None = None


@dataclass(frozen=True)
class Scene:
    """Photos of one place, in the order of their names or of capture.

    Attributes:
        name: Unique in the data set.
        photos: Those with a file and a true pose.
        left_out: Photo, or `WHOLE_SCENE` -> why it is not among them.
        sets: Name -> photos, where the data set has lists of photos to reconstruct.
    """

    name: str
    photos: tuple[ScenePhoto, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def photo(self, name: str) -> ScenePhoto | None:
        """The photo of a name, if it is there."""
        return next((photo for photo in self.photos if photo.name == name), None)


@dataclass(frozen=True)
class Loader:
    """How a data set is read.

    Attributes:
        folders: Data folder -> folders of scenes, in name order.
        scene: (data folder, folder of a scene) -> the scene.
        layout: What the data folder must hold, for messages.
    """

    folders: Callable[[Path], list[Path]]
    scene: Callable[[Path, Path], Scene]
    layout: str


def load_scenes(loader: Loader, data: Path) -> Iterator[Scene]:
    """All scenes of a data folder, one after another; a scene that cannot be read comes without photos.

    Raises:
        ValueError: There is no scene at all.
    """
    folders = loader.folders(data)
    if not folders:
        raise ValueError(f"{data} holds no scene; expected {loader.layout}")
    for folder in folders:
        try:
            yield loader.scene(data, folder)
        except DAMAGE as error:
            yield Scene(scene_name(data, folder), (), {WHOLE_SCENE: f"{type(error).__name__}: {error}"})


def scene_name(data: Path, folder: Path) -> str:
    """POSIX path of a scene below the data folder; the name of the data folder where it is the scene itself."""
    return data.resolve().name if folder == data else folder.relative_to(data).as_posix()


def folders_with(data: Path, *patterns: str, up: int = 1) -> list[Path]:
    """Folders at most three levels below the data folder that hold something of these names, in name order.

    Args:
        data: Where to look.
        patterns: Globs below a folder.
        up: Levels from what the glob finds up to the folder.
    """
    found = {
        path.parents[up - 1]
        for pattern in patterns
        for levels in range(4)
        for path in data.glob("*/" * levels + pattern)
    }
    return sorted(found)


# ---------------------------------------------------------------- entries


class EntryList:
    """Photos of a scene as they are read, with the reasons of those that are not."""

    def __init__(self) -> None:
        self.photos: dict[str, ScenePhoto] = {}
        self.left_out: dict[str, str] = {}

    def add(self, name: str, make: Callable[[], ScenePhoto]) -> None:
        """Add the photo that ``make`` returns, or note why it cannot."""
        if name in self.photos:
            self.left_out[f"{name} (again)"] = "listed twice"
            return
        try:
            self.photos[name] = make()
        except DAMAGE as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            self.left_out[name] = reason or type(error).__name__

    def scene(self, name: str) -> Scene:
        """The scene of all that was read; of photos that are listed twice the first entry counts."""
        photos = tuple(self.photos[key] for key in sorted(self.photos, key=natural_key))
        return Scene(name, photos, self.left_out)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts 2.jpg before 10.jpg."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def find_photo(written: str, *roots: Path) -> Path:
    """The file that a list means, whatever machine and format it was written for.

    A path below a root counts as it is; of an absolute path the longest end that exists below a root does. Where only
    the extension differs, the picture of that stem is meant: lists outlive conversions.

    Raises:
        ValueError: There is none.
    """
    parts = [part for part in PurePosixPath(written.replace("\\", "/")).parts if part not in ("/", ".")]
    for start in range(len(parts)):
        for root in roots:
            path = root.joinpath(*parts[start:])
            if ".." in parts[start:]:
                continue
            if path.is_file():
                return path
            for suffix in PICTURES:
                for spelled in (suffix, suffix.upper()):
                    if path.with_suffix(spelled).is_file():
                        return path.with_suffix(spelled)
    raise ValueError(f"there is no file {written} below {' or '.join(map(str, roots))}")


def numbers(words: Iterable[object], count: int) -> FloatArray:
    """So many finite numbers.

    Raises:
        ValueError: Other ones, or other many.
    """
    found = np.array([float(str(word)) for word in words])
    if found.shape != (count,):
        raise ValueError(f"got {len(found)} numbers, expected {count}")
    if not np.isfinite(found).all():
        raise ValueError("the pose or camera is not finite")
    return found


def matrix_of(path: Path, rows: int, columns: int) -> FloatArray:
    """A matrix from a text file; finite.

    Raises:
        ValueError: No such matrix.
        OSError: No such file.
    """
    words = path.read_text(encoding="utf-8").split()
    try:
        return numbers(words, rows * columns).reshape(rows, columns)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def quaternion_rotation(wxyz: ArrayLike) -> FloatArray:
    """(3, 3) rotation of a unit quaternion, w first.

    Raises:
        ValueError: Its length is not one.
    """
    array = np.asarray(wxyz, dtype=np.float64)
    norm = float(np.linalg.norm(array))
    if not abs(norm - 1.0) <= _QUATERNION_TOLERANCE:
        raise ValueError(f"got a quaternion of length {norm:.3f}, expected 1")
    w, x, y, z = array / norm
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def checked_pose(rotation: ArrayLike, translation: ArrayLike) -> Pose:
    """A pose out of a file.

    Raises:
        ValueError: Not finite, or no rotation but a reflection, as of left-handed axes, or something else.
    """
    matrix, vector = np.asarray(rotation, dtype=np.float64), np.asarray(translation, dtype=np.float64).reshape(-1)
    if matrix.shape != (3, 3) or vector.shape != (3,):
        raise ValueError(f"got a rotation of shape {matrix.shape} and a translation of {vector.shape}")
    if not (np.isfinite(matrix).all() and np.isfinite(vector).all()):
        raise ValueError("the pose is not finite: the camera was lost there")
    if np.linalg.det(matrix) < 0:
        raise ValueError("the pose is a reflection: its axes are left-handed")
    if not geometry.is_rotation(matrix, _ROTATION_TOLERANCE):
        raise ValueError("the pose has no rotation matrix")
    return Pose(geometry.nearest_rotation(matrix), vector)


def pinhole(
    size_px: tuple[int, int], focals_px: Sequence[float], center_px: Sequence[float] | None = None
) -> Intrinsics:
    """A camera without distortion.

    Args:
        size_px: Width and height.
        focals_px: Along x and y.
        center_px: Principal point in COLMAP's pixels; the middle of the image by default.

    Raises:
        ValueError: Numbers that no camera has.
    """
    fx, fy = focals_px
    cx, cy = center_px if center_px is not None else (size_px[0] / 2, size_px[1] / 2)
    if not (np.isfinite([fx, fy, cx, cy]).all() and min(fx, fy) > 0):
        raise ValueError(f"got focal lengths {fx}, {fy} and the centre {cx}, {cy}, expected a camera")
    return Intrinsics(*size_px, (fx + fy) / 2, cx, cy, (), is_trusted=True, model="PINHOLE", aspect=fy / fx)


def camera_of_matrix(matrix: FloatArray, size_px: tuple[int, int]) -> Intrinsics:
    """A camera of OpenCV's K, whose pixels are centred on whole numbers."""
    center_px = (float(matrix[0, 2]) + 0.5, float(matrix[1, 2]) + 0.5)
    return pinhole(size_px, (float(matrix[0, 0]), float(matrix[1, 1])), center_px)


@dataclass(frozen=True)
class Header:
    """What a picture says of itself before it is decoded.

    Attributes:
        size_px: (width, height) as its pixels are stored.
        orientation: By EXIF; 1 where it has none.
    """

    size_px: tuple[int, int]
    orientation: int = 1


def header_of(path: Path) -> Header:
    """The header of a picture.

    Raises:
        OSError: It is no picture.
    """
    with Image.open(path) as image:
        # Of a PNG without EXIF before its pixels Pillow decodes all of them to see whether some follows.
        has_exif = image.format != "PNG" or "exif" in image.info or "Raw profile type exif" in image.info
        orientation = image.getexif().get(_ORIENTATION, 1) if has_exif else 1
        return Header(image.size, orientation if isinstance(orientation, int) else 1)


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of the upright picture in pixels, by its header.

    Raises:
        OSError: It is no picture.
    """
    header = header_of(path)
    return header.size_px[::-1] if header.orientation in (5, 6, 7, 8) else header.size_px


def upright(photo: ScenePhoto, orientation: int) -> ScenePhoto:
    """A photo whose pose and camera are those of its stored pixels, as COLMAP and others have it, turned by EXIF.

    The camera is dropped where its distortion depends on the direction.

    Raises:
        ValueError: EXIF mirrors the picture, which no turn of the camera does.
    """
    if orientation in _MIRRORED:
        raise ValueError("its true pose is that of the stored pixels, which EXIF mirrors")
    if orientation not in _UPRIGHT_FROM_STORED:
        return photo
    turn = np.eye(3)
    turn[:2, :2] = _UPRIGHT_FROM_STORED[orientation]
    pose = Pose(turn @ photo.cam_from_world.rotation, turn @ photo.cam_from_world.translation)
    return replace(photo, cam_from_world=pose, camera=None if photo.camera is None else _turned(photo.camera, turn))


def _turned(camera: Intrinsics, turn: FloatArray) -> Intrinsics | None:
    """The camera of the turned picture; None where that is another model's."""
    if camera.model not in (*_BY_ANGLE, *_ALSO_BY_ANGLE) and any(camera.distortion):
        return None
    stored_px = np.array([camera.width_px, camera.height_px], dtype=np.float64)
    size_px = np.abs(turn[:2, :2]) @ stored_px
    beside_middle_px = turn[:2, :2] @ (np.array([camera.cx_px, camera.cy_px]) - stored_px / 2)
    center_px = size_px / 2 + beside_middle_px
    return replace(
        camera,
        width_px=int(size_px[0]),
        height_px=int(size_px[1]),
        cx_px=float(center_px[0]),
        cy_px=float(center_px[1]),
        aspect=1 / camera.aspect if turn[0, 0] == 0 else camera.aspect,
    )


def fitted(camera: Intrinsics, size_px: tuple[int, int]) -> Intrinsics:
    """A camera in the size of a file that is the picture, or a scaled copy of it.

    Raises:
        ValueError: The file has another shape.
    """
    scale = size_px[0] / camera.width_px, size_px[1] / camera.height_px
    if abs(scale[0] * camera.height_px - size_px[1]) > max(1.0, _ASPECT_TOLERANCE * size_px[1]):
        told = f"{camera.width_px} x {camera.height_px}"
        raise ValueError(f"its camera is that of {told} px, and the photo has {size_px[0]} x {size_px[1]}")
    return camera if scale == (1.0, 1.0) else camera.scaled(size_px, scale)
