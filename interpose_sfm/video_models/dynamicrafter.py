"""DynamiCrafter's published interpolation script as a `VideoModel`: a checkout, run in an environment of its own.

Its code is no package and needs an old PyTorch, so it is neither imported nor copied: a clip is one run of
``scripts/evaluation/inference.py`` with the arguments that ``scripts/run_application.sh interp`` gives it. What goes in
and comes out lies in a temporary folder. ``third_party/README.md`` says how to get code, environment and checkpoint.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from interpose_sfm.options import GenerationOptions
from interpose_sfm.products import ClipFormat, Settings
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.video_models.protocol import (
    ClipEstimate,
    ClipTask,
    GenerationError,
    MadeVideo,
    TaskJournal,
    VideoModel,
)
from interpose_sfm.video_models.subprocesses import Finished, run_logged

REPOSITORY = "https://github.com/Doubiiu/DynamiCrafter"
COMMIT = "c453369367122d7fbb0aa38f124e76dc8fe2a91c"
"""The state of the repository whose script and arguments this module speaks."""

WEIGHTS = "Doubiiu/DynamiCrafter_512_Interp"
"""The checkpoint for first and last frame, on the Hugging Face hub."""

FORMAT = ClipFormat(width_px=512, height_px=320, num_frames=16, fps=8.0)
"""The only one that the checkpoint was trained for."""

logger = logging.getLogger(__name__)

_SCRIPT = Path("scripts/evaluation/inference.py")
_CONFIG = Path("configs/inference_512_v1.0.yaml")
_CHECKPOINT = Path("checkpoints/dynamicrafter_512_interp_v1/model.ckpt")
_STEPS = 50
# What run_application.sh passes for "interp", apart from paths, seed and steps.
_ARGUMENTS = (
    *("--n_samples", "1", "--bs", "1", "--height", str(FORMAT.height_px), "--width", str(FORMAT.width_px)),
    *("--unconditional_guidance_scale", "7.5", "--ddim_eta", "1.0", "--video_length", str(FORMAT.num_frames)),
    *("--frame_stride", "5", "--timestep_spacing", "uniform_trailing", "--guidance_rescale", "0.7"),
    *("--perframe_ae", "--interp"),
)
# The script sorts the pictures by name, takes two for each line of the text file, and names the clip by the first.
_FIRST, _LAST, _PROMPTS = "a_first.png", "b_last.png", "prompts.txt"
_CLIP = Path("samples_separate/a_first_sample0.mp4")

_README = "third_party/README.md says how to get it"
# Of our own environment, what would change that of the script, and what is none of its business.
_HIDDEN_VARIABLES = re.compile(r"PYTHON\w+|VIRTUAL_ENV|TORCH_FORCE_\w+|GIT_\w+|\w+_API_(KEY|SECRET)")
_STRANGE = re.compile(r"GLOBAL ([\w.]+)")  # in PyTorch's words on a pickle that it does not read
_OFTEN_NEEDED = "ModuleNotFoundError", "ImportError"


class DynamiCrafterModel(VideoModel):
    """The checkpoint for 512x320 pixels and 16 frames. Every clip loads it anew, since the script ends with its clip.

    Other sizes, lengths and number formats than the published ones are not offered, and it takes no negative prompt.
    """

    needs_gpu: ClassVar[bool] = True
    has_own_torch: ClassVar[bool] = True

    def __init__(self, name: str, options: GenerationOptions, device: str) -> None:
        """Find code, environment and checkpoint; loads nothing.

        Args:
            name: ``dynamicrafter``.
            options: Where they are, and the number of steps.
            device: A CUDA device.

        Raises:
            ValueError: One of them is not there, or not what is expected.
        """
        if name != "dynamicrafter":
            raise ValueError(f"got the video generator {name!r}, expected 'dynamicrafter': it has one checkpoint")
        self.name = name
        self._install = Installation.find(options)
        self._device = device
        self._visible_devices = visible_devices(device)
        self._steps = options.video_steps or _STEPS
        self._are_weights_safe = False
        self.settings: Settings = {
            "model": WEIGHTS,
            "weights": self._install.fingerprint,
            "commit": COMMIT,
            "steps": self._steps,
        }

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        return "code Apache-2.0; weights on the terms of their page on the hub"

    @classmethod
    def probe(cls) -> str:
        """Look for everything in its default place; see `interpose_sfm.doctor`."""
        install = Installation.find(GenerationOptions())
        return f"commit {COMMIT[:12]} in {install.folder}, {install.python}"

    def format_for(self, photo_size_px: tuple[int, int]) -> ClipFormat:
        """The one format that there is."""
        return FORMAT

    def estimate(self, clip_format: ClipFormat) -> ClipEstimate:
        """Memory of one clip, by the vendor; nobody has measured the time on this machine."""
        return ClipEstimate(
            memory_gib=round(12.8e9 / 2**30, 1),
            basis="12.8 GB by the README of DynamiCrafter, which also says 20 s on an A100, loading not included",
        )

    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        """Make a clip; the journal has nothing to keep, since a killed clip is begun anew.

        Raises:
            GenerationError: The script failed or left no clip.
            ValueError: Weights that are more than weights, too little memory, or an environment that lacks something.
        """
        if not self._are_weights_safe:
            check_weights(self._install.checkpoint)
            self._are_weights_safe = True
        with tempfile.TemporaryDirectory(prefix="interpose_sfm_") as folder:
            work_dir = Path(folder)
            has_prompt = _write_inputs(work_dir / "in", task)
            finished = run_logged(self._command(task, has_prompt), work_dir, self._environment(), logger)
            if finished.exit_code != 0:
                raise self._failure(finished)
            clip = work_dir / "out" / _CLIP
            if not clip.is_file():
                raise GenerationError(f"DynamiCrafter left no clip; it said: {finished.last_words}")
            return MadeVideo(file=clip.read_bytes(), revision=f"{COMMIT[:12]} {self._install.fingerprint}")

    def _command(self, task: ClipTask, has_prompt: bool) -> list[str]:
        """The published command. Input and output are relative: the script replaces "samples" all over the path."""
        install = self._install
        return [
            *(str(install.python), str(install.folder / _SCRIPT)),
            *("--config", str(install.folder / _CONFIG), "--ckpt_path", str(install.checkpoint)),
            *("--prompt_dir", "in", "--savedir", "out"),
            *("--seed", str(task.seed % 2**32), "--ddim_steps", str(self._steps)),
            *_ARGUMENTS,
            *(["--text_input"] if has_prompt else []),
        ]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not _HIDDEN_VARIABLES.fullmatch(name)}
        # The script and open_clip read their files without weights_only; PyTorch does it all the same if told so here.
        kept |= {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "PYTHONUNBUFFERED": "1"}
        if self._visible_devices:
            kept["CUDA_VISIBLE_DEVICES"] = self._visible_devices
        return kept

    def _failure(self, finished: Finished) -> Exception:
        words = finished.last_words
        if "out of memory" in words:
            return ValueError(f"DynamiCrafter ran out of memory on {self._device}; it needs about 12.8 GB ({words})")
        if any(kind in words for kind in _OFTEN_NEEDED):
            return ValueError(
                f"the environment of {self._install.python} lacks something: {words}; install what "
                f"{self._install.folder / 'requirements.txt'} names"
            )
        return GenerationError(f"DynamiCrafter ended with exit code {finished.exit_code}: {words}")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Code, environment and checkpoint.

    Attributes:
        folder: The checkout.
        python: The Python of its environment.
        checkpoint: The weights.
        fingerprint: Tells one file of weights from another.
    """

    folder: Path
    python: Path
    checkpoint: Path
    fingerprint: str

    @classmethod
    def find(cls, options: GenerationOptions) -> Installation:
        """Look where the options say, and see whether it is what they say.

        Raises:
            ValueError: Something is not there, or is something else.
        """
        folder = options.dynamicrafter_dir or Path(__file__).resolve().parents[2] / "third_party" / "DynamiCrafter"
        folder = folder.absolute()
        _check_checkout(folder)
        python = (options.dynamicrafter_python or folder / ".venv" / "bin" / "python").absolute()
        if not (python.is_file() and os.access(python, os.X_OK)):
            raise ValueError(
                f"got no Python of DynamiCrafter's own environment at {python}, expected an executable "
                f"(--dynamicrafter-python); {_README}"
            )
        checkpoint = folder / _CHECKPOINT
        return cls(folder=folder, python=python, checkpoint=checkpoint, fingerprint=weights_fingerprint(checkpoint))


def weights_fingerprint(path: Path) -> str:
    """A key of all checksums in a checkpoint, which PyTorch keeps in one place: the 10 GB beside them are not read.

    Raises:
        ValueError: No such file, or none that PyTorch has written.
    """
    if not path.is_file():
        raise ValueError(f"got no checkpoint at {path}, expected model.ckpt of {WEIGHTS}; {_README}")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = sorted((entry.filename, entry.file_size, entry.CRC) for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"the checkpoint {path} is no archive of PyTorch, or was cut off ({error}); {_README}"
        ) from error
    return content_key(entries)[:16]


def check_weights(path: Path) -> None:
    """Refuse a checkpoint that holds more than tensors and plain values: unpickling it could run anything.

    Raises:
        ValueError: It does, or it is none of this model.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        strange = _STRANGE.search(str(error))
        raise ValueError(
            f"the checkpoint {path} is not run: it cannot be read as tensors and plain values "
            f"(it holds {strange[1] if strange else 'something else'}); {_README}"
        ) from error
    if not isinstance(content, Mapping) or not {"state_dict", "module"} & set(content):
        raise ValueError(f"the checkpoint {path} has no entry 'state_dict' or 'module', expected that of {WEIGHTS}")


def _check_checkout(folder: Path) -> None:
    """Raise ValueError unless a folder holds the published code at the pinned commit, unchanged."""
    if not (folder / _SCRIPT).is_file() or not (folder / _CONFIG).is_file():
        raise ValueError(f"got no checkout of {REPOSITORY} in {folder} (--dynamicrafter-dir); {_README}")
    top = _git(folder, "rev-parse", "--show-toplevel")
    if Path(top).resolve() != folder.resolve():
        raise ValueError(f"{folder} is no git repository of its own, so its commit is not known; {_README}")
    commit = _git(folder, "rev-parse", "HEAD")
    if commit != COMMIT:
        raise ValueError(
            f"got commit {commit} in {folder}, expected {COMMIT[:12]}; try: git -C {folder} checkout {COMMIT}"
        )
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if changed:
        raise ValueError(
            f"got changed files in {folder}, expected commit {COMMIT} as published: {', '.join(_names(changed))}"
        )


def _names(status: str) -> Iterator[str]:
    return (line.split(maxsplit=1)[-1] for line in status.splitlines()[:5])


def _git(folder: Path, *arguments: str) -> str:
    """What git says about a repository; ValueError where it says nothing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    except OSError as error:
        raise ValueError(f"git cannot be run to see which commit is in {folder}: {error}") from error
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git cannot tell which commit is in {folder}: {' '.join(error.stderr.split())}") from error
    return done.stdout.strip()


def visible_devices(device: str) -> str:
    """What CUDA_VISIBLE_DEVICES has to be, since the script takes the first device that it sees; empty for as it is."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        raise ValueError(
            f"got the device {device!r}, expected a CUDA device, since DynamiCrafter runs on no other; where its own "
            "PyTorch finds one and ours does not, set --video-device cuda:0"
        )
    if not index:
        return ""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if not visible:
        return index
    if int(index) >= len(visible):
        raise ValueError(f"got the device {device!r}, expected one of the {len(visible)} of CUDA_VISIBLE_DEVICES")
    return visible[int(index)]


def _write_inputs(folder: Path, task: ClipTask) -> bool:
    """Lay out what the script reads; says whether there is a prompt."""
    expected = (FORMAT.height_px, FORMAT.width_px, 3)
    folder.mkdir()
    for name, picture in ((_FIRST, task.first), (_LAST, task.last)):
        if picture.shape != expected:
            raise ValueError(f"got a picture of {picture.shape}, expected {expected}")
        Image.fromarray(picture).save(folder / name)
    prompt = " ".join(task.prompt.split())  # one line is one clip
    (folder / _PROMPTS).write_text(f"{prompt or 'none'}\n", encoding="utf-8")
    return bool(prompt)
