"""The document on steps of clips: what its figures say, and which pairs it counts."""

from __future__ import annotations

import json

import clip_steps


def test_the_document_is_what_its_figures_say() -> None:
    figures = json.loads(clip_steps.RESULT.with_suffix(".json").read_text(encoding="utf-8"))
    assert clip_steps.document(figures) == clip_steps.RESULT.read_text(encoding="utf-8")


def test_only_clear_pairs_with_both_poses_count() -> None:
    def row(error_deg: float | None, inliers: int = 100, share: float = 0.9) -> clip_steps.Figures:
        near = [inliers, share, 0.8]
        return {"ways": {"10": [*near, error_deg], "network": [*near, 0.5]}}

    rows = [row(1.0), row(None), row(2.0, inliers=99), row(3.0, share=0.89)]
    assert clip_steps.clear_errors_deg(rows, "10", (100, 0.9, 0.8)) == [(1.0, 0.5)]
