"""The checkpoints that have a name here, and any other one by its folder or repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from interpose_sfm.video_models.diffusion import weights
from interpose_sfm.video_models.diffusion.families import FAMILIES, Family, family_of

ANY = "diffusers"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A component that a pipeline takes from another repository.

    Attributes:
        repo: Repository or folder.
        subfolder: Folder in it; empty for its root.
        library, class_name: The class.
    """

    repo: str
    subfolder: str = ""
    library: str
    class_name: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights for one family.

    Attributes:
        family: The pipeline that runs them.
        repo: Repository of the hub, or a folder.
        licence: Of the weights, for people to read; empty where nobody here knows it.
        parts: Components from elsewhere. The first one holds the model proper: `revision` is of it.
        parameters: Component -> billions of parameters, to plan before anything is downloaded. They were counted by
            building each class from its published configuration without memory (torch's device "meta"). Empty where
            that is not public.
        gate: What the hub wants before it hands the weights out, for the message where it does not; empty for nothing.
    """

    family: Family
    repo: str
    licence: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)
    gate: str = ""


_UMT5_XXL, _T5_XXL, _CLIP_H, _WAN_VAE = 5.68, 4.76, 0.63, 0.13
_APACHE = "Apache-2.0"
_WAN = MappingProxyType({"text_encoder": _UMT5_XXL, "vae": _WAN_VAE})

CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType(
    {
        "wan-flf2v": Checkpoint(
            family=FAMILIES["wan-i2v"],
            repo="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers",
            licence=_APACHE,
            parameters={**_WAN, "transformer": 16.40, "image_encoder": _CLIP_H},
        ),
        "wan-vace": Checkpoint(
            family=FAMILIES["wan-vace"],
            repo="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
            licence=_APACHE,
            parameters={**_WAN, "transformer": 2.15},
        ),
        "wan-vace:14b": Checkpoint(
            family=FAMILIES["wan-vace"],
            repo="Wan-AI/Wan2.1-VACE-14B-diffusers",
            licence=_APACHE,
            parameters={**_WAN, "transformer": 17.34},
        ),
        "wan2.2": Checkpoint(
            family=FAMILIES["wan2.2-i2v"],
            repo="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
            licence=_APACHE,
            parameters={**_WAN, "transformer": 14.29, "transformer_2": 14.29},
        ),
        # Converted from alibaba-pai/Wan2.2-VACE-Fun-A14B (Apache-2.0).
        "wan2.2-vace": Checkpoint(
            family=FAMILIES["wan2.2-vace"],
            repo="linoyts/Wan2.2-VACE-Fun-14B-diffusers",
            licence=_APACHE,
            parameters={**_WAN, "transformer": 17.34, "transformer_2": 17.34},
        ),
        "ltx": Checkpoint(
            family=FAMILIES["ltx"],
            repo="Lightricks/LTX-Video-0.9.5",
            licence="LTXV Open Weights License",
            parameters={"text_encoder": _T5_XXL, "transformer": 1.92, "vae": 1.25},
        ),
        "ltx:13b": Checkpoint(
            family=FAMILIES["ltx"],
            repo="Lightricks/LTX-Video-0.9.7-dev",
            licence="LTXV Open Weights License",
            parameters={"text_encoder": _T5_XXL, "transformer": 13.04, "vae": 1.25},
        ),
        "ltx2": Checkpoint(
            family=FAMILIES["ltx2"],
            repo="Lightricks/LTX-2",
            licence="LTX-2 Community License",
            parameters={"text_encoder": 12.20, "transformer": 18.88, "vae": 1.22, "connectors": 1.4},
        ),
        "ltx2:2.5": Checkpoint(
            family=FAMILIES["ltx2"],
            repo="Lightricks/LTX-2.5-Diffusers",
            licence="LTX-2.x Community License",
            gate="first agree to the LTX-2.x Community License on https://huggingface.co/Lightricks/LTX-2.5-Diffusers, "
            "and run: hf auth login",
        ),
        "framepack": Checkpoint(
            family=FAMILIES["framepack"],
            repo="hunyuanvideo-community/HunyuanVideo",
            licence="Tencent Hunyuan Community License, image encoder FLUX.1 [dev] Non-Commercial License",
            parts=MappingProxyType(
                {
                    "transformer": Part(
                        repo="lllyasviel/FramePackI2V_HY",
                        library="diffusers",
                        class_name="HunyuanVideoFramepackTransformer3DModel",
                    ),
                    "image_encoder": Part(
                        repo="lllyasviel/flux_redux_bfl",
                        subfolder="image_encoder",
                        library="transformers",
                        class_name="SiglipVisionModel",
                    ),
                    "feature_extractor": Part(
                        repo="lllyasviel/flux_redux_bfl",
                        subfolder="feature_extractor",
                        library="transformers",
                        class_name="SiglipImageProcessor",
                    ),
                }
            ),
            parameters={
                "text_encoder": 7.51,
                "text_encoder_2": 0.12,
                "image_encoder": 0.43,
                "transformer": 12.87,
                "vae": 0.25,
            },
        ),
        "skyreels": Checkpoint(
            family=FAMILIES["skyreels"],
            repo="Skywork/SkyReels-V2-DF-14B-540P-Diffusers",
            licence="Skywork Community License",
            parameters={**_WAN, "transformer": 14.29},
        ),
        "skyreels:1.3b": Checkpoint(
            family=FAMILIES["skyreels"],
            repo="Skywork/SkyReels-V2-DF-1.3B-540P-Diffusers",
            licence="Skywork Community License",
            parameters={**_WAN, "transformer": 1.42},
        ),
    }
)
"""Name -> checkpoint; what follows a colon is a size other than the default one."""

MODEL_NAMES: tuple[str, ...] = (*(name for name in CHECKPOINTS if ":" not in name), ANY)
"""Names for the table of generators; the sizes and ``diffusers:REPO_OR_PATH`` follow after a colon."""


def checkpoint_of(name: str, revision: str = "") -> Checkpoint:
    """The checkpoint that a name stands for.

    Args:
        name: One of `CHECKPOINTS`, or ``diffusers:`` and a folder or repository.
        revision: Of the repository on the hub.

    Returns:
        The checkpoint. For ``diffusers:`` its configuration was read, from the hub if it is not here, and looked at.

    Raises:
        ValueError: No such name or checkpoint, or one that cannot be used; the message says why.
    """
    if name in CHECKPOINTS:
        return CHECKPOINTS[name]
    kind, _, source = name.partition(":")
    if kind != ANY or not source:
        names = [*CHECKPOINTS, f"{ANY}:REPO_OR_PATH"]
        raise ValueError(f"got the video model {name!r}, expected one of: {', '.join(names)}")
    index = weights.read_config(source, weights.INDEX_NAME, revision)
    if index is None:
        raise ValueError(f"{source} holds no {weights.INDEX_NAME}, expected a checkpoint of a pipeline of diffusers")
    checkpoint = Checkpoint(family=family_of(index, source), repo=source)
    check_usable(checkpoint, index, revision)
    return checkpoint


def check_usable(checkpoint: Checkpoint, index: weights.Index, revision: str = "") -> None:
    """See that a checkpoint takes a last frame and brings no code.

    Args:
        checkpoint: What is asked for.
        index: Its ``model_index.json``.
        revision: Of the repository on the hub.

    Raises:
        ValueError: It does not, or its configuration cannot be read.
    """
    weights.check_libraries(index, checkpoint.family.own_libraries, checkpoint.repo)
    configs = {}
    for name in checkpoint.family.checked_parts:
        part = checkpoint.parts.get(name)
        if part is not None:
            file = f"{part.subfolder}/config.json".lstrip("/")
            config = weights.read_config(part.repo, file, revision if part is first_part(checkpoint) else "")
        elif name in weights.components(index):
            config = weights.read_config(checkpoint.repo, f"{name}/config.json", own_revision(checkpoint, revision))
        else:
            continue
        if config is None:
            raise weights.IncompleteWeightsError(f"{checkpoint.repo}: its {name} has no config.json")
        configs[name] = config
    objection = checkpoint.family.objection(index, configs)
    if objection:
        raise ValueError(f"{checkpoint.repo} cannot be used for bridging: {objection}")


def first_part(checkpoint: Checkpoint) -> Part | None:
    """The part that is the model proper; None where the repository itself holds it."""
    return next(iter(checkpoint.parts.values()), None)


def own_revision(checkpoint: Checkpoint, revision: str) -> str:
    """The revision for the checkpoint's own repository, which is not that of the model where parts hold that."""
    return "" if checkpoint.parts else revision


def folders(checkpoint: Checkpoint, revision: str = "") -> dict[str, Path] | None:
    """Component -> folder of its weights, where all of them are on this machine and whole; nothing is downloaded."""
    home = weights.find(checkpoint.repo, own_revision(checkpoint, revision))
    if home is None or not (home / weights.INDEX_NAME).is_file():
        return None
    folder_of = {}
    try:
        index = weights.read_json(home / weights.INDEX_NAME)
        wanted = {name: cls for name, (_, cls) in weights.components(index).items() if name not in checkpoint.parts}
        for name in filter(lambda name: weights.has_weights(wanted[name]), wanted):
            weights.check_files(home / name, name)
            folder_of[name] = home / name
        for name, part in checkpoint.parts.items():
            root = weights.find(part.repo, revision if part is first_part(checkpoint) else "")
            folder = root / part.subfolder if root is not None else None
            if folder is None or not folder.is_dir():
                return None
            if weights.has_weights(part.class_name):
                weights.check_files(folder)
                folder_of[name] = folder
    except ValueError:
        return None
    return folder_of


def billions_here(checkpoint: Checkpoint, revision: str = "") -> dict[str, float] | None:
    """Component -> parameters in 1e9, counted in files; None unless all of them are on this machine and whole."""
    folder_of = folders(checkpoint, revision)
    return (
        None
        if folder_of is None
        else {name: weights.num_parameters(folder) / 1e9 for name, folder in folder_of.items()}
    )


def terms(name: str) -> str:
    """Repository, licence and presence of all checkpoints of a name, in one line; nothing is asked of the hub."""
    if name == ANY:
        return "weights and licence are those of the checkpoint that is named"
    told = []
    for key, checkpoint in CHECKPOINTS.items():
        if key.partition(":")[0] == name:
            where = "here" if folders(checkpoint) is not None else "not here, fetched at the first use"
            gate = f"; {checkpoint.gate}" if checkpoint.gate else ""
            told.append(f"{key}: weights {checkpoint.repo} ({checkpoint.licence}) are {where}{gate}")
    return "; ".join(told)
