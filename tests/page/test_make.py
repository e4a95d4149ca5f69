"""The page of a report: its numbers, its texts, what it may load, and how large it is."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from interpose_sfm.page import make
from interpose_sfm.page.figures import in_order
from interpose_sfm.report import RunReport
from interpose_sfm.storage.json_values import from_jsonable, to_jsonable
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows import report_page
from page_scene import HOSTILE, as_format_1, model_of, plain_names, write_photos, write_run


class Parsed(HTMLParser):
    """What an HTML parser sees: elements with their attributes, texts, numbers, scripts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.numbers: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes += [(tag, *item) for item in values.items()]
        self._open.append((tag, values))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, values = self._open[-1] if self._open else ("", {})
        if tag == "script" and "type" not in values:
            self.scripts.append(data)
        elif tag == "data":
            self.numbers.append((values["data-place"], values["value"], data))
        elif tag not in ("script", "style"):
            self.texts.append(data)


def page_of(root: Path) -> tuple[Any, Parsed]:
    """report.json and the page that is made of it."""
    result = report_page.write_report_page(root)
    html = result.path.read_text(encoding="utf-8")
    assert result.num_bytes == len(html.encode())
    return json.loads((root / "report.json").read_text(encoding="utf-8")), Parsed(html)


def at(document: Any, pointer: str) -> Any:
    """What a JSON pointer leads to."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("page") / "run", plain_names(8))


@pytest.fixture(scope="module")
def page(run: Path) -> tuple[Any, Parsed]:
    return page_of(run)


def test_numbers_are_those_of_the_report(page: tuple[Any, Parsed]) -> None:
    document, parsed = page
    for place, value, shown in parsed.numbers:
        assert at(document, place) == json.loads(value), place
        found = re.fullmatch(r"(?:1 in 1e)?(-?[0-9.]+)(%|°| px| s|×)?", shown)
        assert found is not None, shown
        number = float(found[1]) / (100.0 if found[2] == "%" else 1.0)
        digits = len(found[1].partition(".")[2]) + (2 if found[2] == "%" else 0)
        assert abs(number - float(value)) <= 0.5001 * 10.0**-digits, (place, value, shown)
    places = {place for place, _, _ in parsed.numbers}
    assert {
        "/num_registered_before",
        "/num_registered_after",
        "/timings_s/a~1b~0c",
        "/look_alikes/0/silent_share",
    } <= places
    for index, pair in enumerate(document["pairs"]):
        for number, witness in enumerate(pair["witnesses"]):
            for part in ("value", "limit"):
                assert (f"/pairs/{index}/witnesses/{number}/{part}" in places) == (witness[part] is not None)
    assert "/pairs/0/clip_scores/a.b~1<clip>~01.mp4/d_bias_deg" in places


def test_every_part_of_a_pair_is_told(page: tuple[Any, Parsed]) -> None:
    document, parsed = page
    text = " ".join(" ".join(parsed.texts).split())
    for pair in document["pairs"]:
        told = [pair["verdict"], pair["detail"], pair["meaning"], *pair["tried"], *pair["weak_because"]]
        told += [witness["name"] for witness in pair["witnesses"]]
        assert all(part in text for part in told)
    assert "notes <b>.txt" in text
    assert "not an image: no <i>picture</i>" in text
    for part in (
        "look <b>out</b>",
        document["outcome"],
        document["next_steps"][0]["command"],
        "they say <no>",
        "a <cut>",
    ):
        assert part in text


def test_nothing_is_loaded_and_no_other_script_runs(page: tuple[Any, Parsed]) -> None:
    _, parsed = page
    policy = next(v for tag, name, v in parsed.attributes if (tag, name) == ("meta", "content") and "default-src" in v)
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in parsed.scripts}
    assert len(hashes) == 2
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert "default-src 'none'" in policy
    assert "script-src 'unsafe" not in policy
    links = [v for _, name, v in parsed.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]


def test_names_stay_text(tmp_path: Path, page: tuple[Any, Parsed]) -> None:
    _, parsed = page_of(write_run(tmp_path / "run", HOSTILE))
    assert parsed.tags == page[1].tags
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    assert len(parsed.scripts) == 2
    assert set(HOSTILE) <= set(parsed.texts)


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    """As Linux allows them."""
    root = write_run(tmp_path / "run", plain_names(4))
    path = root / "report.json"
    path.write_text(path.read_text().replace("IMG_1.jpg", "IMG_\\udcff.jpg"))
    assert "IMG_\\udcff.jpg" in page_of(root)[1].texts


def test_names_are_in_the_order_in_which_cameras_number_them() -> None:
    names = ["IMG_10.jpg", "b/IMG_1.jpg", "IMG_9.jpg", "IMG_9a.jpg", "10.jpg", "9.jpg"]
    assert in_order(names) == ["9.jpg", "10.jpg", "IMG_9.jpg", "IMG_9a.jpg", "IMG_10.jpg", "b/IMG_1.jpg"]


def test_a_report_of_an_earlier_version(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", plain_names(6))
    as_format_1(root / "report.json")
    _, parsed = page_of(root)
    text = " ".join(parsed.texts)
    assert "COLMAP has 3 of 6 photos in its largest model; with links (1 by learned matches or clips) it is 5" in text
    assert "No match of the two photos" not in text  # nobody knows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the run has not ended"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 3}', "it has format 3, and this version of interpose_sfm reads 2"),
        ('{"format": 2}', "there is no models"),
        ('{"format": 2, "photos": [7]}', "cannot be read"),
    ],
)
def test_reports_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    with Workspace(tmp_path / "run").locked():
        pass
    if content is not None:
        (tmp_path / "run" / "report.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        report_page.write_report_page(tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no output folder"):
        report_page.write_report_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reports_come_back_as_they_were(run: Path) -> None:
    document = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert to_jsonable(from_jsonable(RunReport, document)) == document


def test_photos_and_models_may_lie_elsewhere(tmp_path: Path) -> None:
    """As those of the drop-in do."""
    names = plain_names(4)
    root = write_run(tmp_path / "run", names)
    (root / "images").rename(tmp_path / "photos")
    (root / "sparse").rename(tmp_path / "models")
    bare = report_page.write_report_page(root)
    assert (bare.num_models, bare.num_pictures) == (0, 0)
    linked = tmp_path / "photos" / names[0]
    linked.rename(tmp_path / "elsewhere.jpg")
    linked.symlink_to(tmp_path / "elsewhere.jpg")
    for models in (tmp_path / "models", tmp_path / "models" / "0"):
        whole = report_page.write_report_page(root, tmp_path / "photos", models)
        assert (whole.num_models, whole.num_pictures) == (1, 4)


def test_models_are_read_in_the_order_of_the_report(tmp_path: Path) -> None:
    """The drop-in keeps pycolmap's order, which does not go by size."""
    sizes = [3, *(3 + index % 2 for index in range(10))]
    for index, size in enumerate(sizes):
        (tmp_path / str(index)).mkdir()
        model_of(plain_names(size), (64, 48), index).write(tmp_path / str(index))
    (tmp_path / "notes").mkdir()
    assert [model.num_reg_images() for model in report_page.read_models(tmp_path)] == sizes


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    """A report that somebody else wrote shows no pictures of ours."""
    root = write_run(tmp_path / "run", plain_names(4))
    write_photos(tmp_path / "private", ("mine.jpg",), (64, 48), 0)
    path = root / "report.json"
    for name in ("../../private/mine.jpg", f"{tmp_path}/private/mine.jpg"):
        path.write_text(path.read_text().replace("IMG_1.jpg", name).replace("strips/0_0.jpg", name))
        assert report_page.write_report_page(root).num_pictures == 3
        path.write_text(path.read_text().replace(name, "IMG_1.jpg"))


@pytest.mark.parametrize("wanted", [True, False])
def test_a_page_that_fails_costs_a_warning(
    tmp_path: Path, wanted: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_run(tmp_path / "run", plain_names(4))
    summary = report_page.read_report(root / "report.json")
    (root / "report.html").write_text("of an earlier run")

    def fail(_: object) -> make.Page:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(report_page, "make_page", fail)
    with Workspace(root).locked() as workspace, caplog.at_level(logging.WARNING):
        report_page.attempt(workspace, summary, [], root / "images", wanted=wanted)
    assert not (root / "report.html").exists()
    assert ("ZeroDivisionError: a defect" in caplog.text) == wanted


def test_numbers_for_the_eye() -> None:
    asked = [(0.744, "share"), (99.0, "share"), (12.0, "powers of ten"), (3, ""), (1.25, "deg"), (44.25, "deg")]
    shown = [make.number(value, "/x", unit).striptags() for value, unit in asked]
    assert shown == ["74%", "99×", "1 in 1e12", "3", "1.25°", "44.2°"]
    assert make.number(math.nan, "/x") == "–"


def test_fifty_photos_make_a_page_that_can_be_mailed(tmp_path: Path) -> None:
    """Noise takes more room than any photo."""
    root = write_run(tmp_path / "run", plain_names(50), size_px=(600, 450))
    assert report_page.write_report_page(root).num_bytes < 15e6


@pytest.mark.long
def test_a_thousand_photos(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", plain_names(1000), size_px=(640, 480))
    start = time.monotonic()
    result = report_page.write_report_page(root)
    assert time.monotonic() - start < 30.0
    assert result.num_bytes < 40e6
    assert result.num_pictures == 1000
