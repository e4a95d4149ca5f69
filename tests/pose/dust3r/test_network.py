from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpose_sfm.options import Dust3rOptions, NetworkDtype
from interpose_sfm.pose.dust3r import checkpoint, network, network_code
from interpose_sfm.pose.dust3r.inference import CachedInference, all_ordered_pairs
from interpose_sfm.pose.dust3r.network import Dust3rNetwork
from tiny_dust3r import LINE, TINY, needs_code, pictures

pytestmark = pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning")  # of the published code


def tiny_module(code: network_code.NetworkCode, **changes: object) -> Any:
    import torch

    torch.manual_seed(0)
    return network.build_module(code, {**TINY, **changes})


# ---------------------------------------------------------------- the same numbers as the published inference


@needs_code
@pytest.mark.parametrize("head", ["linear", "dpt"])
@pytest.mark.parametrize("shapes", [[(96, 128)] * 3, [(128, 96)] * 2, [(96, 128), (128, 96)]])
def test_point_maps_equal_those_of_the_published_inference(
    code: network_code.NetworkCode, head: str, shapes: list[tuple[int, int]]
) -> None:
    from PIL import Image

    views = pictures(shapes)
    ours = CachedInference(Dust3rNetwork(tiny_module(code, head_type=head), "tiny"), 128, batch_size=4)
    pairs = all_ordered_pairs([view.key for view in views])
    ours.compute(views, pairs)
    tools, published = code.module("utils.image"), tiny_module(code, head_type=head)
    given = {
        view.key: {
            "img": tools.ImgNorm(Image.fromarray(ours.crop(view).image))[None],
            "true_shape": np.array([ours.crop(view).shape], np.int32),
            "idx": int(view.key),
            "instance": view.key,
        }
        for view in views
    }
    for i, j in pairs:
        theirs = code.module("inference").inference([(given[i], given[j])], published, "cpu", 1, verbose=False)
        found = ours.point_maps((i, j))
        for mine, side, name in (
            (found.points_i, "pred1", "pts3d"),
            (found.conf_i, "pred1", "conf"),
            (found.points_j_in_i, "pred2", "pts3d_in_other_view"),
            (found.conf_j, "pred2", "conf"),
        ):
            expected = theirs[side][name][0].numpy()
            assert np.std(expected) > 0
            np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@needs_code
def test_half_precision_is_near(code: network_code.NetworkCode) -> None:
    views = pictures([(96, 128)] * 2)
    found = []
    for dtype in (NetworkDtype.FLOAT32, NetworkDtype.BFLOAT16):
        inference = CachedInference(Dust3rNetwork(tiny_module(code), dtype.value, dtype=dtype), 128)
        inference.compute(views, [("0", "1")])
        found.append(inference.point_maps(("0", "1")).points_i)
    difference = np.abs(found[0] - found[1]).max() / np.abs(found[0]).max()
    assert 1e-6 < difference < 0.1


# ---------------------------------------------------------------- weights


@needs_code
@pytest.mark.parametrize("kind", ["pth", "safetensors with a description", "pth without second decoder"])
def test_weights_are_loaded_strictly(code: network_code.NetworkCode, tmp_path: Path, kind: str) -> None:
    import torch
    from safetensors.torch import save_model

    module = tiny_module(code)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01)
    state = dict(module.state_dict())
    if kind == "pth without second decoder":
        state = {name: value for name, value in state.items() if not name.startswith("dec_blocks2")}
        module.load_state_dict(state)  # the published class takes the first decoder for both
    path = tmp_path / ("w.safetensors" if "safetensors" in kind else "w.pth")
    if path.suffix == ".pth":
        torch.save({"args": argparse.Namespace(model=LINE, lr=1.0), "model": state, "epoch": 3}, path)
    else:
        save_model(module, str(path))
        described = {name: list(v) if isinstance(v, tuple) else v for name, v in TINY.items()}
        described |= {"depth_mode": ["exp", "-inf", "inf"], "conf_mode": ["exp", 1, "inf"], "landscape_only": False}
        (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    found = network.load_network(Dust3rOptions(dust3r_weights=str(path), dust3r_device="cpu"))
    assert isinstance(found, Dust3rNetwork)
    assert checkpoint.locate(str(path)).sha256 in found.identity
    views = pictures([(96, 128)] * 2)
    answers = []
    for each in (found, Dust3rNetwork(module, "direct")):
        inference = CachedInference(each, 128)
        inference.compute(views, [("0", "1")])
        answers.append(inference.point_maps(("0", "1")).points_j_in_i)
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-6)

    if path.suffix == ".pth":
        del state["enc_norm.weight"]
        torch.save({"args": argparse.Namespace(model=LINE), "model": state}, path)
        with pytest.raises(ValueError, match=r"do not fit their network: .*enc_norm.weight"):
            network.load_network(Dust3rOptions(dust3r_weights=str(path), dust3r_device="cpu"))
