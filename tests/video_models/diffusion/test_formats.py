from __future__ import annotations

import pytest

from interpose_sfm.products import ClipFormat
from interpose_sfm.video_models.diffusion.families import FAMILIES


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (1921, 1081), (1000, 1000), (601, 4000), (4, 3)])
def test_formats_obey_the_rules(name: str, size: tuple[int, int]) -> None:
    rules = FAMILIES[name].rules
    aspect = min(max(size[0] / size[1], 0.5), 2.0)
    for frames_wanted, long_side_px in [(None, None), (3, 333), (50, 640), (10_000, 10_000)]:
        found = rules.clip_format(size, frames_wanted, long_side_px)
        sides = found.width_px, found.height_px
        assert all(side > 0 and side % rules.side_step_px == 0 for side in sides)
        assert max(sides) <= rules.max_side_px
        assert rules.frame_step < found.num_frames <= rules.max_frames
        assert (found.num_frames - 1) % rules.frame_step == 0
        assert found.fps == rules.fps
        if long_side_px is None:
            assert 0.85 * rules.area_px <= found.width_px * found.height_px <= rules.area_px
            assert found.num_frames == rules.frames
            assert found.width_px / found.height_px == pytest.approx(aspect, rel=0.04)
        else:
            assert max(sides) == pytest.approx(min(long_side_px, rules.max_side_px), abs=rules.side_step_px / 2)
            assert found.width_px / found.height_px == pytest.approx(aspect, rel=0.12)


def test_formats_of_well_known_shapes() -> None:
    wan, ltx, framepack = (FAMILIES[name].rules for name in ("wan-i2v", "ltx", "framepack"))
    assert wan.clip_format((1664, 960)) == ClipFormat(width_px=832, height_px=480, num_frames=81, fps=16.0)
    assert wan.clip_format((1664, 960), 48, 1280) == ClipFormat(width_px=1280, height_px=736, num_frames=49, fps=16.0)
    assert ltx.clip_format((6000, 4000), 100) == ClipFormat(width_px=768, height_px=512, num_frames=97, fps=25.0)
    assert framepack.clip_format((480, 832), 100) == ClipFormat(width_px=480, height_px=832, num_frames=109, fps=30.0)
    with pytest.raises(ValueError, match="0x10 px"):
        wan.clip_format((0, 10))
