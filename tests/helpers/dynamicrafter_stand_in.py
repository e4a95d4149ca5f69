"""A stand-in for DynamiCrafter's checkout: a git repository whose script has the published interface, and no model.

The published checkpoint has 10 GB and runs on CUDA only. What the package owes it is the command line, the files and
the process, so the script here takes the arguments of the published one (and no others), reads the folder of pictures
and prompts, loads the checkpoint and names its output as that does, but fades from one picture to the other.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SCRIPT = """
import argparse, glob, json, os, sys
from fractions import Fraction

parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("savedir", "ckpt_path", "config", "prompt_dir"):
    parser.add_argument("--" + name, type=str)
for name, default in dict(n_samples=1, ddim_steps=50, bs=1, height=512, width=512, frame_stride=3, seed=123,
                          video_length=16).items():
    parser.add_argument("--" + name, type=int, default=default)
for name, default in dict(ddim_eta=1.0, unconditional_guidance_scale=1.0, cfg_img=None, guidance_rescale=0.0).items():
    parser.add_argument("--" + name, type=float, default=default)
parser.add_argument("--timestep_spacing", type=str, default="uniform")
for name in ("negative_prompt", "text_input", "multiple_cond_cfg", "perframe_ae", "loop", "interp"):
    parser.add_argument("--" + name, action="store_true")
args = parser.parse_args()

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
text_files = sorted(glob.glob(os.path.join(args.prompt_dir, "*.txt")))
prompts = [line.strip() for line in open(text_files[0]) if line.strip()]
with open(os.path.join(root, "runs.jsonl"), "a") as log:
    log.write(json.dumps({"arguments": vars(args), "prompts": prompts, "environment": dict(os.environ)}) + "\\n")
print("a step of the sampler", end="\\r")
BODY

import av, numpy as np, torch
from PIL import Image

# The published script leaves weights_only to its PyTorch, where it is False.
weights = torch.load(args.ckpt_path, map_location="cpu", weights_only=False)["state_dict"]
assert os.path.exists(args.config) and args.bs == 1 and args.interp and args.height % 16 == args.width % 16 == 0
pictures = []
for ending in ("jpg", "png", "jpeg", "JPEG", "PNG"):
    pictures += glob.glob(os.path.join(args.prompt_dir, "*." + ending))
pictures.sort()
folder = os.path.join(args.savedir, "samples")
os.makedirs(folder.replace("samples", "samples_separate"), exist_ok=True)
for index in range(len(prompts)):
    first, last = (np.asarray(Image.open(path).convert("RGB"), float) for path in pictures[2 * index : 2 * index + 2])
    assert first.shape == last.shape == (args.height, args.width, 3)
    name = os.path.basename(pictures[2 * index]).split(".")[0]
    path = os.path.join(folder.replace("samples", "samples_separate"), f"{name}_sample0.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(8), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = args.width, args.height, "yuv420p"
        for share in np.linspace(0, 1, args.video_length):
            frame = ((1 - share) * first + share * last).round().astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
print("saved in", args.savedir)
"""


@dataclass(frozen=True)
class StandIn:
    """A checkout.

    Attributes:
        folder: Where it is.
        commit: Its only commit.
    """

    folder: Path
    commit: str

    @property
    def script(self) -> Path:
        return self.folder / "scripts" / "evaluation" / "inference.py"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "dynamicrafter_512_interp_v1" / "model.ckpt"

    @property
    def python(self) -> Path:
        return self.folder / ".venv" / "bin" / "python"

    def save_weights(self, content: Any) -> None:
        torch.save(content, self.checkpoint)


def make_stand_in(folder: Path, body: str = "") -> StandIn:
    """A repository with one commit, an environment and a checkpoint.

    Args:
        folder: Does not exist yet.
        body: What the script does once it has noted its arguments in ``runs.jsonl``, before it makes a clip.
    """
    made = StandIn(folder, "")
    made.script.parent.mkdir(parents=True)
    made.script.write_text(SCRIPT.replace("BODY", body))
    (folder / "configs").mkdir()
    (folder / "configs" / "inference_512_v1.0.yaml").write_text("model: {}\n")
    (folder / ".gitignore").write_text("checkpoints\n.venv\nruns.jsonl\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-q", "-m", "A stand-in")
    made.python.parent.mkdir(parents=True)
    made.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    made.python.chmod(0o755)
    made.checkpoint.parent.mkdir(parents=True)
    made.save_weights({"state_dict": {"weight": torch.arange(3.0)}, "epoch": 1})
    return StandIn(folder, git(folder, "rev-parse", "HEAD"))


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
