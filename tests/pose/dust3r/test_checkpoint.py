from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import pytest

from interpose_sfm.pose.dust3r import checkpoint
from tiny_dust3r import LINE, TINY, needs_code


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
