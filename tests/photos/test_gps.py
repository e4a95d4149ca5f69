from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from bad_photos import picture
from gps_noise import dms, exif_of
from interpose_sfm.photos import gps, pictures
from interpose_sfm.photos.pictures import strict_pillow
from interpose_sfm.products import GpsPosition, Photo
from photo_folders import collect, photo, put

Tags = dict[int, Any]


BRITTANY: Tags = {1: "N", 2: dms(48, 30, 360), 3: "W", 4: dms(2, 15, 0), 5: b"\0", 6: IFDRational(1234, 10)}
THERE = GpsPosition(48.501, -2.25, 123.4)


def assert_there(found: GpsPosition | None, truth: GpsPosition = THERE) -> None:
    assert found is not None
    assert found.latitude_deg == pytest.approx(truth.latitude_deg, abs=1e-9)
    assert found.longitude_deg == pytest.approx(truth.longitude_deg, abs=1e-9)
    assert (found.altitude_m is None) is (truth.altitude_m is None)
    if truth.altitude_m is not None:
        assert found.altitude_m == pytest.approx(truth.altitude_m, abs=0.05)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_positions_are_kept_of_every_format_also_where_the_photo_is_written_anew(
    suffix: str, orientation: int, folder: Path
) -> None:
    picture("a").save(folder / f"a.{suffix}", exif=exif_of(BRITTANY, orientation))
    assert_there(pictures.read_position(folder / f"a.{suffix}"))
    for _ in range(2):  # by decoding, then by the ledger
        (found,) = collect(folder).photos
        assert_there(found.gps)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("longitude", ["GpsLongitude", "GpsLongtitude"])
def test_positions_in_the_xmp_of_drones_are_read(suffix: str, longitude: str, folder: Path) -> None:
    there = {"GpsLatitude": "+48.501000", longitude: "-2.250000", "AbsoluteAltitude": "+123.40"}
    attributes = " ".join(f'drone-dji:{key}="{value}"' for key, value in there.items())
    save_with_xmp(folder / f"a.{suffix}", f"<rdf:Description {attributes}/>")
    assert_there(pictures.read_position(folder / f"a.{suffix}"))
    (found,) = collect(folder).photos
    assert_there(found.gps)


def save_with_xmp(path: Path, xmp: str, **options: Any) -> None:
    if path.suffix == ".png":
        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", xmp)
        picture("a").save(path, pnginfo=texts, **options)
    elif path.suffix == ".tif":
        picture("a").save(path, tiffinfo={700: xmp.encode()}, **options)
    else:
        picture("a").save(path, xmp=xmp.encode(), **options)


@pytest.mark.parametrize(
    ("xmp", "truth"),
    [
        ("<drone-dji:GpsLatitude>48.501</drone-dji:GpsLatitude><drone-dji:GpsLongitude>-2.25<", (48.501, -2.25, None)),
        ("drone-dji:Latitude='1.5' drone-dji:Longitude='2' drone-dji:AbsoluteAltitude='-600'", (1.5, 2.0, None)),
        ("drone-dji:GpsLatitude='+0.000000' drone-dji:GpsLongitude='+0.000000'", None),
        ("drone-dji:GpsLatitude='+95.0' drone-dji:GpsLongitude='+2.0'", None),
        ("drone-dji:GpsLatitude='+48.5'", None),
        ("drone-dji:RelativeAltitude='+48.5'", None),
    ],
)
def test_what_xmp_tells(xmp: str, truth: tuple[float, float, float | None] | None) -> None:
    found = gps.position_in_xmp(xmp.encode())
    assert found == (None if truth is None else GpsPosition(*truth))


def test_exif_comes_before_xmp_also_where_the_receiver_doubts_it(folder: Path) -> None:
    xmp = "drone-dji:GpsLatitude='1.5' drone-dji:GpsLongitude='2.5'"
    save_with_xmp(folder / "a.jpg", xmp, exif=exif_of(BRITTANY))
    assert_there(pictures.read_position(folder / "a.jpg"))
    save_with_xmp(folder / "b.jpg", xmp, exif=exif_of({**BRITTANY, 9: "V"}))
    assert pictures.read_position(folder / "b.jpg") is None


def test_photos_without_one_have_none(folder: Path) -> None:
    put(folder, "a.jpg")
    (folder / "b.jpg").write_text("no image")
    assert collect(folder).photos[0].gps is None
    assert pictures.read_position(folder / "a.jpg") is None
    assert pictures.read_position(folder / "b.jpg") is None
    assert pictures.read_position(folder / "missing.jpg") is None


@pytest.mark.parametrize(
    ("changes", "truth"),
    [
        ({1: "S", 3: "E"}, GpsPosition(-48.501, 2.25, 123.4)),
        ({1: b"n\0"}, THERE),
        ({5: b"\1"}, GpsPosition(48.501, -2.25, -123.4)),
        ({2: (IFDRational(48), IFDRational(3006, 100), IFDRational(0))}, THERE),
        ({2: (IFDRational(48501, 1000),)}, THERE),
        ({6: None}, GpsPosition(48.501, -2.25, None)),
        ({6: IFDRational(0)}, GpsPosition(48.501, -2.25, None)),
        ({6: IFDRational(0, 0)}, GpsPosition(48.501, -2.25, None)),
        ({6: IFDRational(999_999)}, GpsPosition(48.501, -2.25, None)),
        ({5: b"\2"}, THERE),  # EXIF 3.0: above and below the sea
        ({5: b"\3"}, GpsPosition(48.501, -2.25, -123.4)),
        ({2: (IFDRational(48), IFDRational(29), IFDRational(6360, 106))}, GpsPosition(48.5, -2.25, 123.4)),
        ({31: IFDRational(49, 10)}, THERE),
        ({31: IFDRational(0, 0)}, THERE),
        ({27: b"ASCII\0\0\0GPS"}, THERE),
        ({27: b"UNICODE\0G\0P\0S\0"}, THERE),
    ],
)
def test_positions_are_read_in_every_way_they_are_written(changes: Tags, truth: GpsPosition) -> None:
    tags = {tag: value for tag, value in {**BRITTANY, **changes}.items() if value is not None}
    assert_there(gps.position_in(exif_of(tags)), truth)


NOTHING, NOWHERE = IFDRational(0, 0), (IFDRational(0), IFDRational(0), IFDRational(0))
BAD: list[Tags] = [
    {2: (NOTHING, NOTHING, NOTHING)},
    {2: (IFDRational(48), NOTHING, IFDRational(0))},
    {4: (IFDRational(2), IFDRational(15), IFDRational(1, 0))},
    {2: dms(98, 0, 0)},
    {4: dms(181, 0, 0)},
    {2: NOWHERE, 4: NOWHERE},
    {1: "X"},
    {1: None},
    {3: None},
    {2: None},
    {4: None},
    {9: "V"},
    {27: b"ASCII\0\0\0CELLID\0"},
    {27: b"ASCII\0\0\0network"},
    {31: IFDRational(65)},
    {2: (48.0, 75.0, 0.0)},
    {2: ()},
    {2: ("48", "thirty", "0")},
    {2: (1.0, 2.0, 3.0, 4.0)},
    {2: (-48.0, 0.0, 0.0)},
    {2: (float("inf"), 0.0, 0.0)},
    {1: 7},
    {2: b"\xff\xff"},
]


@pytest.mark.parametrize("changes", BAD)
def test_nonsense_and_what_the_receiver_doubts_is_no_position(changes: Tags) -> None:
    exif = Image.Exif()
    tags = {tag: value for tag, value in {**BRITTANY, **changes}.items() if value is not None}
    exif._ifds[0x8825] = tags  # noqa: SLF001 - what could not be written as EXIF may still be read from it
    assert gps.position_in(exif) is None


def test_a_damaged_altitude_does_not_cost_the_place() -> None:
    exif = Image.Exif()
    for altitude in ((1.0, 2.0), "high", b"\xff", float("nan"), float("inf")):
        exif._ifds[0x8825] = {**BRITTANY, 6: altitude}  # noqa: SLF001 - as above
        assert_there(gps.position_in(exif), GpsPosition(48.501, -2.25, None))


def test_random_bytes_of_exif_are_harmless(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of photos with a byte or more of their GPS overwritten: a position, or none, and never an error."""
    rng = np.random.default_rng(0)
    data = exif_of(BRITTANY).tobytes()
    num_known = 0
    for _ in range(3000):
        spoilt = bytearray(data)
        for at in rng.integers(6, len(data), rng.integers(1, 6)):
            spoilt[at] = rng.integers(256)
        exif = Image.Exif()
        with strict_pillow():
            try:
                exif.load(bytes(spoilt))
            except Exception:  # noqa: BLE001 - Pillow's own refusal
                continue
            found = gps.position_in(exif)
        if found is not None:
            num_known += 1
            assert abs(found.latitude_deg) <= 90
            assert abs(found.longitude_deg) <= 180
            assert found.altitude_m is None or -500 <= found.altitude_m <= 20_000
    assert 200 < num_known < 2900
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_spoilt_position_costs_neither_the_photo_nor_its_focal_length(folder: Path) -> None:
    exif = exif_of({**BRITTANY, 2: (NOTHING, NOTHING, NOTHING)})
    exif.get_ifd(0x8769)[0xA405] = 30
    picture("a").save(folder / "a.jpg", exif=exif)
    (found,) = collect(folder).photos
    assert found.gps is None
    assert found.focal_px is not None


# ---------------------------------------------------------------- metres


def at(name: str, position: GpsPosition | None) -> Photo:
    plain = photo(name)
    return Photo(plain.name, plain.path, 400, 300, None, "", "", "", position)


def test_positions_become_metres_to_the_east_north_and_up() -> None:
    metre_deg = 1 / 111_195.0  # of latitude, on a sphere
    start = GpsPosition(48.5, -2.25, 100.0)
    north = GpsPosition(48.5 + 200 * metre_deg, -2.25, 100.0)
    east = GpsPosition(48.5, -2.25 + 200 * metre_deg / np.cos(np.radians(48.5)), 130.0)
    unknown = GpsPosition(48.5, -2.25, None)
    found = gps.positions_m([at("s", start), at("n", north), at("e", east), at("u", unknown), at("-", None)])
    assert sorted(found) == ["e", "n", "s", "u"]
    np.testing.assert_allclose(found["n"] - found["s"], (0, 200, 0), atol=1.0)
    np.testing.assert_allclose(found["e"] - found["s"], (200, 0, 30), atol=1.0)
    assert np.isnan(found["u"][2])
    assert np.all(np.isfinite(found["u"][:2]))


def test_a_position_far_off_does_not_tilt_the_ground_of_the_others() -> None:
    """Also where it is the first: with an origin there, the others' north and east would be distances no more."""
    away = at("-", GpsPosition(-30.0, 60.0, None))
    near = [at(name, GpsPosition(48.5 + 0.001 * step, -2.25, None)) for step, name in enumerate("abc")]
    found = gps.positions_m([away, *near])
    np.testing.assert_allclose(np.diff([found[name][1] for name in "abc"]), 111.2, atol=0.2)
    assert np.isfinite(found["-"][:2]).all()


def test_distances_hold_across_the_date_line_and_near_the_poles() -> None:
    for longitudes, latitude in (((179.999, -179.999), 10.0), ((0.0, 180.0), 89.999)):
        found = gps.positions_m(at(str(x), GpsPosition(latitude, x, 5.0)) for x in longitudes)
        first, second = found.values()
        assert 200 < np.linalg.norm(first - second) < 230


def test_one_position_is_of_no_use() -> None:
    assert gps.positions_m([]) == {}
    assert gps.positions_m([at("a", THERE), at("b", None)]) == {}


def test_any_mixture_of_good_and_bad_photos_is_read(folder: Path) -> None:
    everything = itertools.cycle(
        [BRITTANY, {}, {**BRITTANY, 2: (NOTHING, NOTHING, NOTHING)}, {**BRITTANY, 2: dms(98, 0, 0)}]
    )
    for index, tags in zip(range(12), everything, strict=False):
        picture(str(index)).save(folder / f"{index:02}.jpg", exif=exif_of(tags))
    found = collect(folder)
    assert len(found.photos) == 12
    assert len(gps.positions_m(found.photos)) == 3


# ---------------------------------------------------------------- images that are written anew


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("position", [GpsPosition(48.123456789, -2.987654321, 612.345), GpsPosition(-33.9, 151.2, -4.5),
                                      GpsPosition(-0.00049, 59.99999999999, None)])  # fmt: skip
def test_images_that_are_written_anew_keep_where_they_were_taken(
    suffix: str, position: GpsPosition, folder: Path
) -> None:
    """The picture is turned upright, so that what says how to turn it goes, and nothing else does."""
    tags = exif_of(gps.tags_to_write(position), orientation=6)
    tags[0x010F] = "Canon"
    tags.get_ifd(0x8769)[0xA405] = 30
    tags[0x8769] = 0
    options = {"lossless": True} if suffix == "webp" else {}
    picture("a").save(folder / f"a.{suffix}", exif=tags, **options)
    (photo,) = collect(folder).photos
    with Image.open(photo.path) as image:
        written = image.getexif()
        found = gps.position_of(image)
    assert found is not None
    assert (found.latitude_deg, found.longitude_deg) == pytest.approx(
        (position.latitude_deg, position.longitude_deg), abs=2e-10
    )
    assert found.altitude_m == position.altitude_m
    assert written.get(0x0112, 1) == 1
    assert (written[0x010F], written.get_ifd(0x8769)[0xA405]) == ("Canon", 30)
