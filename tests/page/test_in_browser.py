"""The page as a browser shows it: what a person sees and does on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from browser import CHROMIUM, Browser, opened_browser
from interpose_sfm.workflows.report_page import write_report_page
from page_scene import HOSTILE, plain_names, write_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (tools/chromium.sh)")

# Relative luminance and contrast by WCAG 2.
CONTRASTS = """
(() => {
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
    }
  };
  const found = {};
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("#scene, svg") || e.closest(".skip")) continue;
    const a = light(numbers(getComputedStyle(e).color).slice(0, 3)), b = light(ground(e));
    found[e.tagName + "." + e.className] = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report_page(write_run(tmp_path_factory.mktemp("run") / "run", plain_names(8))).path


def drawn(browser: Browser) -> None:
    browser.wait("document.getElementById('scene').dataset.drawn === 'true'")


def shown(browser: Browser, selector: str) -> int:
    elements = f"[...document.querySelectorAll({json.dumps(selector)})]"
    number: int = browser.run(f"{elements}.filter(e => !e.hasAttribute('hidden')).length")
    return number


def test_it_opens_without_an_error_or_a_request(browser: Browser, page: Path) -> None:
    browser.open(page)
    drawn(browser)
    assert browser.errors == []
    assert browser.requests == [page.as_uri()]


def test_what_the_policy_forbids_is_noticed(browser: Browser, tmp_path: Path, page: Path) -> None:
    """Otherwise the test above could not fail."""
    html = page.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(
        html.replace("<footer>", "<script>window.hacked = 1</script><img src='http://localhost:9/x.png'>")
    )
    browser.open(broken)
    drawn(browser)
    assert browser.run("window.hacked") is None
    assert sum("Content Security Policy" in error for error in browser.errors) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_3d_view_draws(browser: Browser, page: Path, scheme: str) -> None:
    """Points of the model's colour, and cameras of the colours of what holds them."""
    browser.open(page, scheme=scheme)
    drawn(browser)
    picture = browser.picture("#scene").astype(int)
    ground = picture[-10, 10]
    assert (ground.mean() < 80) == (scheme == "dark")
    painted = np.abs(picture - ground).max(axis=2) > 40
    assert 0.005 < painted.mean() < 0.5
    reddish = (picture[..., 0] - picture[..., 2] > 80) & (np.abs(picture - (200, 90, 60)).max(axis=2) < 60)
    assert reddish.sum() > 300


def test_a_click_on_a_camera_shows_its_photo(browser: Browser, page: Path) -> None:
    browser.open(page)
    drawn(browser)
    color = browser.run("getComputedStyle(document.documentElement).getPropertyValue('--clip').trim()")
    clip = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    is_clip = np.abs(browser.picture("#scene").astype(int) - clip).max(axis=2) < 24
    rows, columns = np.nonzero(ndimage.minimum_filter(is_clip, 4))  # the disc of a camera, not the lines of its pyramid
    left, top, _, _ = browser.box("#scene")
    place = left + int(columns[0]), top + int(rows[0])
    browser.point("mouseMoved", *place)
    browser.wait("document.querySelector('#scene').dataset.hovered !== undefined")
    browser.point("mousePressed", *place)
    browser.wait("document.getElementById('photo-dialog').open")  # plotly looks once a frame
    browser.point("mouseReleased", *place)
    index = int(browser.run("document.querySelector('#scene').dataset.hovered"))
    assert browser.run("document.getElementById('photo-dialog-name').textContent") == plain_names(8)[index]
    assert browser.run("document.querySelector('#photo-dialog-picture use').getAttribute('href')") == f"#im{index}"
    browser.press("Escape")
    assert not browser.run("document.getElementById('photo-dialog').open")


def test_a_filter_filters_graph_table_and_pairs(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert [shown(browser, s) for s in ("#pair-table tbody tr", "details.pair", ".edge[data-pair]")] == [4, 4, 4]
    assert shown(browser, ".edge.group-verified") > 10
    browser.click("input[data-group=refused]")
    assert [shown(browser, s) for s in ("#pair-table tbody tr", "details.pair", ".edge[data-pair]")] == [2, 2, 2]
    assert browser.run("document.getElementById('filter-result').textContent") == "2 of 4 weak pairs are shown"
    browser.click("input[data-group=refused]")
    browser.click("#filter-text")
    browser.ask("Input.insertText", text="img_3")
    rows = "[...document.querySelectorAll('#pair-table tbody tr:not([hidden]) bdi')].map(e => e.textContent)"
    assert browser.run(rows) == ["IMG_3.jpg", "IMG_7.jpg"]
    assert shown(browser, ".edge[data-pair]") == 1


def test_the_keyboard_reaches_everything(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('.node[data-name=\"IMG_2.jpg\"]').focus()")
    browser.press("Enter")
    assert browser.run("document.getElementById('filter-text').value") == "IMG_2.jpg"
    assert shown(browser, "#pair-table tbody tr") == 1
    browser.press("Enter")
    assert shown(browser, "#pair-table tbody tr") == 4
    browser.run("document.querySelector('button.photo').focus()")
    browser.press("Enter")
    assert browser.run("document.getElementById('photo-dialog').open")
    browser.press("Escape")
    browser.run("document.querySelector('.clip input').focus()")
    browser.press("ArrowRight")
    assert browser.run("document.querySelector('.player').dataset.frame") == "1"
    named = "e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length"
    assert browser.run(f"[...document.querySelectorAll('[role=img], button, input')].every(e => {named})")


def test_a_clip_plays(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("document.querySelector('.player').dataset.frame") == "0"
    first = browser.picture(".player")
    browser.click(".play")
    browser.wait("document.querySelector('.player').dataset.frame === '2'")
    browser.click(".play")
    frame = int(browser.run("document.querySelector('.player').dataset.frame"))
    later = browser.picture(".player")
    middle = first.shape[0] // 2, first.shape[1] // 2
    assert abs(int(first[middle][0]) - 0) < 12
    assert abs(int(later[middle][0]) - 40 * frame) < 12
    assert browser.run("document.querySelector('.play').textContent") == "Play"


def test_hostile_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    page = write_report_page(write_run(tmp_path / "run", HOSTILE)).path
    browser.open(page)
    drawn(browser)
    browser.click("button.photo")
    assert browser.run("document.getElementById('photo-dialog-name').textContent") in HOSTILE
    browser.press("Escape")
    for node in range(len(HOSTILE)):
        browser.run(f"document.querySelectorAll('.node')[{node}].dispatchEvent(new Event('click'))")
    names = browser.run("[...document.querySelectorAll('.gallery bdi')].map(e => e.textContent)")
    assert sorted(names) == sorted(HOSTILE)
    assert browser.run("window.hacked") is None
    assert browser.run("document.querySelectorAll('main img, main b, main i, main script').length") == 0
    assert browser.errors == []
    assert browser.requests == [page.as_uri()]


@pytest.mark.parametrize("width", [360, 1000])
def test_it_fits_its_window(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width, height=740)
    drawn(browser)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("parseFloat(getComputedStyle(document.body).fontSize)") >= 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(browser: Browser, page: Path, scheme: str) -> None:
    browser.open(page, scheme=scheme)
    found = browser.run(CONTRASTS)
    assert len(found) > 15
    assert {name: value for name, value in found.items() if value < 4.5} == {}


@pytest.mark.long
def test_a_thousand_photos_open(browser: Browser, tmp_path: Path) -> None:
    page = write_report_page(write_run(tmp_path / "run", plain_names(1000))).path
    browser.open(page)
    drawn(browser)
    assert browser.errors == []
    browser.click("input[data-group=refused]")
    assert 0 < shown(browser, "#pair-table tbody tr") < 150
