"""DUSt3R's network code, its weights, crops and caches, with the real classes at a tiny size."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpose_sfm.options import Dust3rOptions, NetworkDtype
from interpose_sfm.pose.dust3r import checkpoint, crops, network, network_code
from interpose_sfm.pose.dust3r.inference import CachedInference, all_ordered_pairs, tying_pairs
from interpose_sfm.pose.dust3r.network import Dust3rNetwork, Encoding, PointMaps
from interpose_sfm.pose.dust3r.stores import PointMapStore, open_network_stores
from interpose_sfm.products import ImageArray, Intrinsics, View
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.storage.stores import StoreError

MISSING = network_code.missing_requirements()
pytestmark = pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning")  # of the published code
needs_code = pytest.mark.skipif(bool(MISSING), reason=f"DUSt3R's code needs {', '.join(MISSING)}")

TINY = {
    "pos_embed": "RoPE100",
    "img_size": (512, 512),
    "head_type": "linear",
    "output_mode": "pts3d",
    "depth_mode": ("exp", -math.inf, math.inf),
    "conf_mode": ("exp", 1, math.inf),
    "enc_embed_dim": 32,
    "enc_depth": 2,
    "enc_num_heads": 2,
    "dec_embed_dim": 24,
    "dec_depth": 10,
    "dec_num_heads": 2,
}
LINE = (
    "AsymmetricCroCo3DStereo(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), "
    "head_type='linear', output_mode='pts3d', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), "
    "enc_embed_dim=32, enc_depth=2, enc_num_heads=2, dec_embed_dim=24, dec_depth=10, dec_num_heads=2, "
    "landscape_only=True)"
)


@pytest.fixture(scope="module")
def code() -> network_code.NetworkCode:
    import torch

    torch.set_num_threads(1)
    return network_code.find_network_code()


def tiny_module(code: network_code.NetworkCode, **changes: object) -> Any:
    import torch

    torch.manual_seed(0)
    return network.build_module(code, {**TINY, **changes})


def pictures(shapes: Sequence[tuple[int, int]]) -> list[View]:
    generator = np.random.default_rng(0)
    return [
        View(f"{i}", generator.integers(0, 256, (h, w, 3), np.uint8), Intrinsics(w, h, 100.0, w / 2, h / 2))
        for i, (h, w) in enumerate(shapes)
    ]


# ---------------------------------------------------------------- crops


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (512, 384)),
        ((3000, 4000), (384, 512)),
        ((1000, 1000), (512, 384)),
        ((640, 480), (512, 384)),
        ((1920, 1080), (512, 288)),
        ((1001, 667), (512, 336)),
        ((300, 200), (512, 336)),
    ],
)
def test_crops_have_the_sizes_of_dust3r(size: tuple[int, int], expected: tuple[int, int]) -> None:
    crop = crops.cut(np.zeros((size[1], size[0], 3), np.uint8), 512)
    assert crop.shape == (expected[1], expected[0])


@needs_code
@pytest.mark.parametrize("size", [(800, 600), (600, 800), (501, 301), (90, 90), (300, 171)])
def test_crops_equal_those_of_the_published_loader(
    code: network_code.NetworkCode, tmp_path: Path, size: tuple[int, int]
) -> None:
    from PIL import Image

    image = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    theirs = code.module("utils.image").load_images([str(tmp_path / "a.png")], size=512, verbose=False)[0]["img"]
    ours = crops.cut(image, 512).image.transpose(2, 0, 1) / 127.5 - 1.0
    np.testing.assert_allclose(theirs[0].numpy(), ours, atol=1e-6)


@pytest.mark.parametrize("size", [(800, 600), (600, 800), (501, 301), (400, 400)])
def test_positions_and_cameras_go_to_the_crop_and_back(size: tuple[int, int]) -> None:
    """A bright dot is where the mapping says."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    x, y = int(0.4 * size[0]), int(0.55 * size[1])
    image[y - 4 : y + 4, x - 4 : x + 4] = 255
    crop = crops.cut(image, 256)
    shine = crop.image[..., 0].astype(float)
    rows, columns = np.mgrid[: shine.shape[0], : shine.shape[1]] + 0.5
    center = np.array([np.sum(columns * shine), np.sum(rows * shine)]) / shine.sum()
    np.testing.assert_allclose(crop.to_crop(np.array([x, y], float)), center, atol=0.1)
    np.testing.assert_allclose(crop.to_photo(crop.to_crop(np.array([[3.0, 7.0]]))), [[3.0, 7.0]], atol=1e-9)
    photo = Intrinsics(size[0], size[1], 700.0, size[0] / 2 + 3, size[1] / 2 - 2, 0.01)
    camera = crop.crop_intrinsics(photo)
    assert camera.focal_px == pytest.approx(700.0 * 256 / max(size), rel=2e-3)
    assert crop.photo_intrinsics(photo, camera.focal_px).focal_px == pytest.approx(700.0)
    np.testing.assert_allclose(crop.to_photo(np.array([camera.cx_px, camera.cy_px])), [photo.cx_px, photo.cy_px])


def test_a_strip_is_refused() -> None:
    with pytest.raises(ValueError, match="2000 x 20 px, whose shorter side falls below 16 px"):
        crops.cut(np.zeros((20, 2000, 3), np.uint8), 512)


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


# ---------------------------------------------------------------- caches


class CountingNetwork:
    """Answers with numbers that tell what was asked."""

    def __init__(self, identity: str = "counting") -> None:
        self.identity = identity
        self.batches: list[tuple[str, int]] = []

    def encode(self, images: Sequence[ImageArray]) -> list[Encoding]:
        assert len({image.shape for image in images}) == 1
        self.batches.append(("encode", len(images)))
        return [Encoding(np.full((4, 2), image.mean(), np.float32), image.shape[:2]) for image in images]

    def decode(self, pairs: Sequence[tuple[Encoding, Encoding]]) -> list[PointMaps]:
        assert len({(i.shape, j.shape) for i, j in pairs}) == 1
        self.batches.append(("decode", len(pairs)))
        return [
            PointMaps(
                np.full((*i.shape, 3), i.tokens[0, 0] - j.tokens[0, 0], np.float32),
                np.ones(i.shape, np.float32),
                np.full((*j.shape, 3), 7.0, np.float32),
                np.ones(j.shape, np.float32),
            )
            for i, j in pairs
        ]


def num_alive(kind: type) -> int:
    """How many objects of a class somebody holds."""
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


def test_every_image_and_every_ordered_pair_runs_once() -> None:
    views = pictures([(48, 64), (48, 64), (64, 48), (48, 64)])
    counting = CountingNetwork()
    inference = CachedInference(counting, 64, batch_size=3)
    inference.compute(views[:3], all_ordered_pairs(["0", "1", "2"]))
    assert (inference.num_encoded, inference.num_decoded) == (3, 6)
    inference.compute(views, all_ordered_pairs(["0", "1", "2", "3"]))
    inference.compute(views, all_ordered_pairs(["0", "1", "3"]))
    assert (inference.num_encoded, inference.num_decoded) == (4, 12)
    assert max(size for _, size in counting.batches) == 3
    forth, back = (inference.point_maps(pair).points_i[0, 0, 0] for pair in (("0", "1"), ("1", "0")))
    assert forth == -back != 0
    assert inference.point_maps(("0", "2")).conf_j.shape == (64, 48)
    with pytest.raises(KeyError):
        inference.point_maps(("1", "7"))


def test_results_are_found_again_on_disk(tmp_path: Path) -> None:
    views, pairs = pictures([(48, 64)] * 3), all_ordered_pairs(["0", "1", "2"])
    with open_network_stores(tmp_path) as stores:
        first = CachedInference(CountingNetwork(), 64, 2, stores)
        first.compute(views, pairs)
        expected = first.point_maps(("0", "2"))
    with open_network_stores(tmp_path) as stores:
        again = CachedInference(CountingNetwork(), 64, 2, stores)
        again.compute(views, pairs)
        assert (again.num_encoded, again.num_decoded) == (0, 0)
        found = again.point_maps(("0", "2"))
        for name in ("points_i", "conf_i", "points_j_in_i", "conf_j"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        other_weights = CachedInference(CountingNetwork("other"), 64, 2, stores)
        other_weights.compute(views, pairs)
        assert (other_weights.num_encoded, other_weights.num_decoded) == (3, 6)
        other_size = CachedInference(CountingNetwork(), 128, 2, stores)
        other_size.compute(views[:2], [("0", "1")])
        assert (other_size.num_encoded, other_size.num_decoded) == (2, 1)
        with pytest.raises(ValueError, match="float32 of 2 dimensions"):
            stores.encodings.put("x", Encoding(np.zeros(3), (1, 1)))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="does not hold point maps"):
        PointMapStore(tmp_path / "encodings.h5")


def test_stores_that_are_not_used_leave_nothing(tmp_path: Path) -> None:
    with open_network_stores(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_where_there_is_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interpose_sfm.pose.dust3r import inference as module

    monkeypatch.setattr(module, "MAX_ENCODINGS", 1)
    monkeypatch.setattr(module, "MAX_POINT_MAPS", 1)
    views, pairs = pictures([(48, 64)] * 4), all_ordered_pairs(["0", "1", "2", "3"])
    with open_network_stores(tmp_path) as stores:
        before = num_alive(Encoding), num_alive(PointMaps)
        inference = CachedInference(CountingNetwork(), 64, 5, stores)
        inference.compute(views, pairs)
        assert (inference.num_encoded, inference.num_decoded) == (4, 12)
        forth, back = (float(inference.point_maps(pair).points_i[0, 0, 0]) for pair in (("0", "3"), ("3", "0")))
        assert forth == -back != 0
        assert (num_alive(Encoding) - before[0], num_alive(PointMaps) - before[1]) == (1, 1)


def test_economical_pairs_tie_every_view_to_both_ends() -> None:
    pairs = tying_pairs(["A", "f", "g", "h", "B"])
    assert len(pairs) == len(set(pairs)) == 14
    assert all({"A", "B"} & set(pair) for pair in pairs)
    assert set(pairs) < set(all_ordered_pairs(["A", "f", "g", "h", "B"]))
    assert set(tying_pairs(["A", "B"])) == {("A", "B"), ("B", "A")}


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


class Evil:
    """Would write a file when it is unpickled carelessly."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.path, "w"))


@needs_code
def test_checkpoints_cannot_run_code(tmp_path: Path) -> None:
    import torch

    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    torch.save({"args": argparse.Namespace(model=LINE), "model": {}, "more": Evil(str(trace))}, path)
    with pytest.raises(ValueError, match="not a checkpoint of tensors and plain values"):
        checkpoint.locate(str(path))
    line = f"AsymmetricCroCo3DStereo(enc_depth=open({str(trace)!r}, 'w'))"
    torch.save({"args": argparse.Namespace(model=line), "model": {}}, path)
    with pytest.raises(ValueError, match="expected a plain value"):
        checkpoint.locate(str(path))
    assert not trace.exists()


def test_the_line_that_describes_a_network_is_read_as_data() -> None:
    found = checkpoint.parse_model_line(LINE)
    assert found == TINY
    assert checkpoint.parse_model_line("AsymmetricCroCo3DStereo()") == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("__import__('os').system('true')", "expected AsymmetricCroCo3DStereo"),
        ("AsymmetricCroCo3DStereo(1)", "expected AsymmetricCroCo3DStereo"),
        ("AsymmetricCroCo3DStereo(enc_depth=2); x", "expected AsymmetricCroCo3DStereo"),
        ("Other(enc_depth=2)", "expected AsymmetricCroCo3DStereo"),
        ("AsymmetricCroCo3DStereo(**{'a': 1})", "plain value"),
        ("AsymmetricCroCo3DStereo(enc_depth=[x for x in ()])", "plain value"),
        ("AsymmetricCroCo3DStereo(enc_depth=nan)", "plain value"),
        ("AsymmetricCroCo3DStereo(enc_depth='2')", "enc_depth: got '2', expected int"),
        ("AsymmetricCroCo3DStereo(enc_depth=True)", "enc_depth: got True, expected int"),
        ("AsymmetricCroCo3DStereo(norm_layer=2)", "network arguments norm_layer"),
    ],
)
def test_lines_that_describe_something_else_are_refused(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checkpoint.parse_model_line(line)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a file"):
        checkpoint.locate(str(tmp_path / "none.pth"))
    if importlib.util.find_spec("huggingface_hub") is not None:
        with pytest.raises(ValueError, match="cannot be had from the hub"):
            checkpoint.locate("no such/hub id")


# ---------------------------------------------------------------- finding the code

FIND = (
    "import sys; path = list(sys.path); from interpose_sfm.pose.dust3r import network_code as n; {edit};"
    "code = n.find_network_code(); print(code.package, path == sys.path, code.module('model').NAME, path == sys.path)"
)


def test_a_checkout_is_found_without_touching_the_search_path(tmp_path: Path) -> None:
    """It comes before mini-dust3r; the one of the test stands in its place."""
    package = tmp_path / "checkout" / "dust3r"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model.py").write_text("import sys; sys.path.insert(0, 'x'); print('noise'); NAME = 'from a checkout'\n")
    edit = f"from pathlib import Path; n.CHECKOUT = Path({str(package.parent)!r})"
    run = [sys.executable, "-c", FIND.format(edit=edit)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert "git -C" in done.stderr
    assert "submodule update --init --recursive" in done.stderr
    (package.parent / "croco" / "models").mkdir(parents=True)
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "dust3r True from a checkout True", done.stderr


def test_missing_code_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network_code, "CHECKOUT", tmp_path)
    monkeypatch.setitem(sys.modules, "mini_dust3r", None)
    monkeypatch.setitem(sys.modules, "dust3r", None)
    assert network_code.missing_requirements()["mini_dust3r"] == network_code.INSTALL_COMMAND
    with pytest.raises(MissingDependencyError, match="pip install --no-deps mini-dust3r"):
        network_code.find_network_code()


def test_devices() -> None:
    pytest.importorskip("torch")
    assert network.pick_device("cpu") == "cpu"
    assert network.pick_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="got 'abacus', expected auto, cpu, cuda or mps"):
        network.pick_device("abacus")


@pytest.mark.parametrize(
    "changes",
    [{"dust3r_weights": ""}, {"dust3r_size_px": 500}, {"dust3r_batch_size": 0}, {"dust3r_pool": 2}],
)
def test_options_check_themselves(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)).replace("_", "-")):
        Dust3rOptions(**changes)
    with pytest.raises(ValueError, match="is not a valid"):
        Dust3rOptions(alignment="theirs")  # type: ignore[arg-type]
