import os

# Before numpy and torch load: every worker has one core, and idle threads would take the others' from COLMAP's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before its client loads: no test asks the hub

import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from hook_scene import Apart
    from interpose_sfm.synthetic import SampleTruth

LONGEST_FIRST = ("workflows", "video_models", "pose", "cli")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders that take longest first, so that the workers end at about the same time."""
    tests = Path(__file__).parent
    ranks = {folder: rank for rank, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.relative_to(tests).parts[0], len(ranks)))


@pytest.fixture(autouse=True)
def ctrl_c_raises() -> None:
    """Also in a process that a shell started in the background, where Ctrl-C is ignored unless somebody asks for it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KiB; skipped where none can be mounted."""
    from small_disks import mounted

    with mounted(tmp_path / "disk", "200k") as folder:
        yield folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """(name, make) -> what ``make`` returns for a new folder; the first worker that asks makes it for all of them."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, make: Callable[[Path], Any]) -> Any:
        folder, result = shared / name, shared / f"{name}.pickle"
        with FileLock(shared / f"{name}.lock"):
            if not result.exists():
                folder.mkdir()
                result.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(result.read_bytes())

    return made


@pytest.fixture(scope="session")
def apart(made_once: Callable[[str, Callable[[Path], Any]], Any]) -> "Apart":
    """Photos that pycolmap leaves in two models; made once, since its learned matches take the time."""
    from hook_scene import make_apart

    found: Apart = made_once("apart", make_apart)
    return found


@pytest.fixture(scope="session")
def small_sample(made_once: Callable[[str, Callable[[Path], Any]], Any]) -> "SampleTruth":
    """Two groups of three small photos that nothing connects, and a clip of five frames between them."""
    from interpose_sfm.synthetic import SampleOptions, write_sample

    options = SampleOptions(seed=1, width_px=400, photos_per_group=3, num_frames=5, supersampling=1)
    found: SampleTruth = made_once("small_sample", lambda folder: write_sample(folder / "collection", options))
    return found


@pytest.fixture(scope="session")
def tiny_checkpoint(made_once: Callable[[str, Callable[[Path], Any]], Any]) -> "Callable[..., Path]":
    """(name, changes) -> folder of a tiny pipeline as `tiny_pipelines` builds it; every one is built once."""
    made: dict[str, Path] = {}

    def checkpoint(name: str, **changes: Any) -> Path:
        from tiny_pipelines import save_tiny

        key = "-".join([name, *(f"{change}={value}" for change, value in sorted(changes.items()))])
        if key not in made:
            safe = "".join(letter if letter.isalnum() or letter in "-=" else "_" for letter in f"tiny-{key}")
            made[key] = made_once(safe, lambda folder: save_tiny(name, folder / name, **changes))
        return made[key]

    return checkpoint
