"""The document on large collections, whose parts are told by a module each."""

from __future__ import annotations

import json

import scale


def test_the_document_is_what_its_figures_say() -> None:
    """But for its first paragraph, which names the machine."""
    figures = json.loads(scale.RESULT.with_suffix(".json").read_text(encoding="utf-8"))
    published = scale.RESULT.read_text(encoding="utf-8")
    assert scale.document(figures).partition("\n## ")[1:] == published.partition("\n## ")[1:]


def test_what_was_not_measured_is_told() -> None:
    together = {
        "photos": {"castle-P30": 2, "lund": 3},
        "models": [{"lund": 3}],
        "matched": 4,
        "accepted": 1,
        "across": [{"pair": [["castle-P30", "a.jpg"], ["lund", "b.jpg"]], "verdict": "accepted", "detail": ""}],
        "cpu_s": 7.0,
        "peak_mib": 800.0,
    }
    assert "places were matched, not reconstructed together" in scale.document({})
    text = scale.document({"together": together})
    assert "not reconstructed together" not in text
    assert "| 0 | 3 | lund 3 |" in text
    assert "- castle-P30 / a.jpg and lund / b.jpg" in text
