"""Checkpoints of video models: which are refused and why, where they are found, and what memory they need."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interpose_sfm.options import GenerationOptions, NetworkDtype
from interpose_sfm.video_models.diffusion import (
    MODEL_NAMES,
    DiffusersModel,
    catalogue,
    create_model,
    loading,
    objections,
    weights,
)
from interpose_sfm.video_models.diffusion.catalogue import CHECKPOINTS, Checkpoint, Part
from interpose_sfm.video_models.diffusion.families import FAMILIES
from interpose_sfm.video_models.diffusion.local import PREFERRED
from interpose_sfm.video_models.protocol import ClipTask
from tiny_models import OPTIONS, TinyCheckpoint, model_of


def make(model: DiffusersModel) -> Any:
    wanted = model.format_for((4, 3))
    pictures = np.random.default_rng(0).integers(0, 256, (2, wanted.height_px, wanted.width_px, 3), dtype=np.uint8)
    task = ClipTask(key="key", first=pictures[0], last=pictures[1], prompt="a static scene", seed=0, format=wanted)
    return model.make(task, None)  # type: ignore[arg-type]


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def vace(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to be broken."""
    return Path(shutil.copytree(tiny_checkpoint("wan-vace"), tmp_path / "vace"))


# ---------------------------------------------------------------- the last frame would be ignored


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("wan-flf2v", {"expand_timesteps": True, "in_channels": 16}, "expand_timesteps, as in Wan2.2-TI2V-5B"),
        ("wan-flf2v", {"pos_embed_seq_len": None}, "looks at one picture only"),
        ("wan-flf2v", {"in_channels": 16}, "takes 16 channels, expected 36"),
        ("wan2.2", {"in_channels": 16}, "takes 16 channels, expected 36"),
        ("skyreels-flf2v", {"pos_embed_seq_len": None}, "looks at one picture only"),
        ("skyreels", {"image_dim": 16, "added_kv_proj_dim": 24}, "wants an image encoder"),
        ("framepack", {"has_clean_x_embedder": False}, "has_clean_x_embedder"),
    ],
)
def test_checkpoints_without_last_frame_are_refused(
    name: str, changes: Mapping[str, Any], message: str, tiny_checkpoint: TinyCheckpoint
) -> None:
    with pytest.raises(ValueError, match=f"cannot be used for bridging: .*{message}"):
        model_of(tiny_checkpoint(name, **changes))


def test_expanded_timesteps_ignore_the_last_frame_indeed() -> None:
    """Why they are refused: the pipeline takes the argument and makes the same clip."""
    from PIL import Image

    from tiny_pipelines import build

    pipe = build("wan-flf2v", expand_timesteps=True, in_channels=16, image_dim=None, pos_embed_seq_len=None)
    pipe.set_progress_bar_config(disable=True)
    black, white = (Image.new("RGB", (32, 32), (value,) * 3) for value in (0, 255))
    clips = [
        pipe(
            image=first,
            last_image=last,
            prompt="a static scene",
            width=32,
            height=32,
            num_frames=5,
            num_inference_steps=1,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(0),
        ).frames[0]
        for first, last in ((black, black), (black, white), (white, black))
    ]
    np.testing.assert_array_equal(clips[0], clips[1])
    assert np.abs(clips[0] - clips[2]).max() > 0.01


def test_old_ltx_is_refused(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint("ltx"), tmp_path / "ltx"))
    change_json(folder / "model_index.json", _class_name="LTXPipeline")
    with pytest.raises(ValueError, match=r"older than LTX-Video 0\.9\.5"):
        model_of(folder)
    change_json(folder / "vae/config.json", down_block_types=["LTXVideo095DownBlock3D"])
    assert model_of(folder).settings["pipeline"] == "LTXConditionPipeline"


# ---------------------------------------------------------------- what is not loaded


@pytest.mark.parametrize("class_name", ["StableDiffusionPipeline", ["pipeline.py", "Mine"], None])
def test_other_classes_are_refused_with_the_list(class_name: object, vace: Path) -> None:
    change_json(vace / "model_index.json", _class_name=class_name)
    with pytest.raises(ValueError, match=r"expected one .*HunyuanVideoFramepackPipeline, LTX2ConditionPipeline,.*WanV"):
        model_of(vace)


@pytest.mark.parametrize("class_name", objections.ONE_PICTURE)
def test_models_of_one_picture_are_refused_with_the_reason(class_name: str, vace: Path) -> None:
    import diffusers

    call = inspect.signature(getattr(diffusers, class_name).__call__)
    assert not {"last_image", "conditions", "video"} & set(call.parameters)  # or the reason has become a wrong one
    change_json(vace / "model_index.json", _class_name=class_name)
    with pytest.raises(ValueError, match=rf"checkpoint of '{class_name}', whose pipeline takes one picture and knows"):
        model_of(vace)


@pytest.mark.parametrize(("name", "family"), [("wan2.2", "wan2.2-i2v"), ("wan2.2-vace", "wan2.2-vace")])
def test_two_stages_are_known_by_the_index(name: str, family: str, tiny_checkpoint: TinyCheckpoint) -> None:
    checkpoint = catalogue.checkpoint_of(f"diffusers:{tiny_checkpoint(name)}")
    assert checkpoint.family is FAMILIES[family] is CHECKPOINTS[name].family
    assert "transformer_2" in weights.components(weights.read_json(tiny_checkpoint(name) / "model_index.json"))


def test_a_gate_of_the_hub_is_named_with_its_licence(cache: object) -> None:
    with pytest.raises(ValueError, match=r"hf download Lightricks/LTX-2.5-Diffusers.*LTX-2.x Community License"):
        make(create_model("ltx2:2.5", OPTIONS, "cpu"))


def test_code_of_a_checkpoint_is_not_run(vace: Path) -> None:
    (vace / "transformer/mine.py").write_text("raise SystemExit('it was run')")
    change_json(vace / "model_index.json", transformer=["mine", "Mine"])
    with pytest.raises(ValueError, match=r"its transformer is 'Mine' of 'mine'.*is not run"):
        model_of(vace)


def test_pickled_weights_are_refused(vace: Path) -> None:
    from safetensors.torch import load_file

    path = vace / "transformer/diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(ValueError, match="its transformer has pickled weights only"):
        make(model_of(vace))


def test_pickled_weights_beside_safetensors_are_left_alone(vace: Path) -> None:
    (vace / "transformer/diffusion_pytorch_model.bin").write_bytes(b"not even a pickle")
    assert make(model_of(vace)).frames


def test_incomplete_weights_are_told(vace: Path) -> None:
    path = vace / "vae/diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    for cut in (whole[:-10], whole[:100], b"", whole[:8] + b"{" * 40 + whole[48:]):
        path.write_bytes(cut)
        with pytest.raises(ValueError, match="get it anew"):
            make(model_of(vace))
    path.unlink()
    with pytest.raises(ValueError, match="its vae has no weights"):
        make(model_of(vace))
    shards = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (vace / "vae/one.safetensors").write_bytes(whole)
    (vace / "vae/model.safetensors.index.json").write_text(json.dumps(shards))
    with pytest.raises(ValueError, match=r"its vae lacks two\.safetensors"):
        make(model_of(vace))


def test_weights_of_another_size_are_told(vace: Path) -> None:
    change_json(vace / "transformer/config.json", ffn_dim=48)
    with pytest.raises(ValueError, match=r"vace cannot be loaded: .*expected shape"):
        make(model_of(vace))


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_lacking_tensors_are_told(part: str, vace: Path) -> None:
    from safetensors.torch import load_file, save_file

    (path,) = (vace / part).glob("*.safetensors")
    tensors = load_file(path)
    tensors.pop(min(tensors))
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"{part} holds [\d,]+ parameters, expected [\d,]+ for"):
        make(model_of(vace))


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_broken_index_is_told(content: str, vace: Path) -> None:
    (vace / "model_index.json").write_text(content)
    with pytest.raises(ValueError, match=r"model_index\.json"):
        model_of(vace)


def test_folder_without_pipeline_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no model_index\.json"):
        model_of(tmp_path)


@pytest.mark.parametrize("name", ["wan", "diffusers", "diffusers:", "wan-vace:99b"])
def test_unknown_names_are_told_with_the_list(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected one of: wan-flf2v, wan-vace, wan-vace:14b.*diffusers:REPO_OR_PATH"):
        create_model(name, OPTIONS, "cpu")


# ---------------------------------------------------------------- the hub and its cache


def test_cached_checkpoints_run_offline_and_tell_their_commit(
    cache: Callable[[str, Path, str], None], tiny_checkpoint: TinyCheckpoint
) -> None:
    commit = "1" * 40
    cache("tiny/vace", tiny_checkpoint("wan-vace"), commit)
    model = model_of("tiny/vace")
    assert model.settings["model"] == "tiny/vace"
    assert make(model).revision == commit
    with pytest.raises(ValueError, match=r"hf download tiny/vace --revision v2"):
        create_model("diffusers:tiny/vace", GenerationOptions(video_revision="v2"), "cpu")


@pytest.mark.parametrize("repo", ["tiny/vace", "not a name", "a/b/c"])
def test_absent_checkpoints_are_told_with_the_command(repo: str, cache: object) -> None:
    with pytest.raises(ValueError, match=f"'{repo}' are not on this machine.*hf download {repo}.*diffusers:FOLDER"):
        model_of(repo)


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if ":" not in name])
def test_named_models_without_weights_tell_the_command(name: str, cache: object) -> None:
    model = create_model(name, OPTIONS, "cpu")  # builds without network
    with pytest.raises(ValueError, match=r"not on this machine.*hf download \S+/\S+"):
        make(model)


def test_incomplete_cache_is_told(
    cache: Callable[[str, Path, str], None], vace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (vace / "vae/diffusion_pytorch_model.safetensors").unlink()
    cache(CHECKPOINTS["wan-vace"].repo, vace, "2" * 40)
    with pytest.raises(ValueError, match=r"its vae has no weights.*hf download Wan-AI/Wan2\.1-VACE-1\.3B-diffusers"):
        make(create_model("wan-vace", OPTIONS, "cpu"))
    assert catalogue.billions_here(CHECKPOINTS["wan-vace"]) is None


def test_model_of_parts_from_several_places(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """As FramePack is published: a transformer, an image encoder, and the rest of HunyuanVideo."""
    whole = tiny_checkpoint("framepack")
    home = tmp_path / "home"
    parts = ("transformer", "image_encoder", "feature_extractor")
    shutil.copytree(whole, home, ignore=shutil.ignore_patterns(*parts))
    index = json.loads((whole / "model_index.json").read_text())
    for name in parts[1:]:
        del index[name]
    index.update(_class_name="HunyuanVideoPipeline", transformer=["diffusers", "HunyuanVideoTransformer3DModel"])
    (home / "model_index.json").write_text(json.dumps(index))
    shutil.copytree(whole / "transformer", tmp_path / "transformer")
    published = CHECKPOINTS["framepack"]
    checkpoint = Checkpoint(
        family=published.family,
        repo=str(home),
        parts={
            name: Part(
                repo=str(tmp_path / "transformer" if name == "transformer" else whole),
                subfolder=part.subfolder,
                library=part.library,
                class_name=part.class_name,
            )
            for name, part in published.parts.items()
        },
    )
    loaded = loading.load(checkpoint, "", NetworkDtype.FLOAT32)
    assert type(loaded.pipe).__name__ == "HunyuanVideoFramepackPipeline"
    assert loaded.revision.count("local ") == 3
    in_one = loading.load(Checkpoint(family=published.family, repo=str(whole)), "", NetworkDtype.FLOAT32)
    for name in ("transformer", "image_encoder", "vae"):
        torch.testing.assert_close(
            getattr(loaded.pipe, name).state_dict(), getattr(in_one.pipe, name).state_dict(), rtol=0, atol=0
        )
    found = catalogue.folders(checkpoint)
    assert found is not None
    assert found["image_encoder"] == whole / "image_encoder"
    shutil.rmtree(tmp_path / "transformer")
    assert catalogue.folders(checkpoint) is None


# ---------------------------------------------------------------- what determines a clip


def test_settings_follow_the_weights_and_not_the_folder(vace: Path, tiny_checkpoint: TinyCheckpoint) -> None:
    settings = model_of(vace).settings
    assert settings == model_of(tiny_checkpoint("wan-vace")).settings
    other = create_model(f"diffusers:{vace}", GenerationOptions(video_steps=9), "cpu").settings
    assert {name for name in settings if settings[name] != other[name]} == {"steps", "dtype"}
    path = vace / "transformer/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x3e")
    changed = model_of(vace).settings
    assert {name for name in settings if settings[name] != changed[name]} == {"model"}


def test_named_models_tell_repository_and_revision() -> None:
    settings = create_model("ltx:13b", GenerationOptions(video_revision="v1"), "cpu").settings
    assert settings["model"] == "Lightricks/LTX-Video-0.9.7-dev"
    assert settings["revision"] == "v1"
    assert settings["steps"] == FAMILIES["ltx"].steps


# ---------------------------------------------------------------- auto


def test_names_and_requirements() -> None:
    assert MODEL_NAMES == (
        "wan-flf2v",
        "wan-vace",
        "wan2.2",
        "wan2.2-vace",
        "ltx",
        "ltx2",
        "framepack",
        "skyreels",
        "diffusers",
    )
    assert set(PREFERRED) == set(CHECKPOINTS)
    assert DiffusersModel.missing_requirements() == {}
    assert set(DiffusersModel.requires.values()) == {"pip install 'interpose_sfm[video]'"}
    for checkpoint in CHECKPOINTS.values():
        assert weights.find(checkpoint.repo) is None or checkpoint.parameters
