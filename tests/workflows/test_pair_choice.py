from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from interpose_sfm.colmap.features import ChoosePairs
from interpose_sfm.options import BaseOptions, MatchingMethod, PairingOptions, ReconstructOptions
from interpose_sfm.products import GpsPosition, ImagePair, Photo, PhotoSet
from interpose_sfm.run_log import RunLog
from interpose_sfm.workflows.pair_choice import PairChoice
from interpose_sfm.workflows.start_checks import check_options
from places_in_database import write_places

NUM_PLACES, NUM_EACH = 5, 5
SHUFFLED = random.Random(3).sample(range(25), 25)
PLACES = [[f"{number:02} x.jpg" for number in SHUFFLED[k * NUM_EACH : (k + 1) * NUM_EACH]] for k in range(NUM_PLACES)]
PLACE_OF = {name: k for k, place in enumerate(PLACES) for name in place}
NAMES = sorted(PLACE_OF)


@pytest.fixture(scope="module")
def database_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_places(tmp_path_factory.mktemp("places") / "database.db", PLACES)


def photo(name: str, gps: GpsPosition | None = None) -> Photo:
    return Photo(name, Path(name), 400, 300, None, "", "", "", gps)


def choice_of(
    path: Path,
    folder: Path,
    limit: int,
    *photos: Photo,
    neighbours: int = 8,
    database: Path | None = None,
    **pairing: object,
) -> PairChoice:
    options = ReconstructOptions(
        database=database,
        base=BaseOptions(exhaustive_limit=limit, neighbours_per_photo=neighbours, num_threads=1),
        pairing=PairingOptions(**pairing),  # type: ignore[arg-type]
    )
    photo_set = PhotoSet(folder, photos or tuple(map(photo, NAMES)), ())
    return PairChoice(photo_set, path, folder, options, RunLog())


def chosen(choose: ChoosePairs) -> set[ImagePair]:
    return {pair for pairs in choose() for pair in pairs}


def test_small_collections_are_matched_as_ever(database_path: Path, tmp_path: Path) -> None:
    choice = choice_of(database_path, tmp_path, 25)
    assert choice.chooser() is None
    assert choice.key_parts() == ()  # results of earlier versions are found again
    forced = choice_of(database_path, tmp_path, 24, matching_method="exhaustive")
    assert forced.chooser() is None
    assert forced.key_parts() == (MatchingMethod.EXHAUSTIVE,)


def test_large_collections_are_matched_by_looks_whatever_their_names(database_path: Path, tmp_path: Path) -> None:
    choose = choice_of(database_path, tmp_path, 24, neighbours=4).chooser()
    assert choose is not None
    pairs = chosen(choose)
    true = {ImagePair.sorted(a, b) for place in PLACES for a in place for b in place if a != b}
    assert pairs == true
    by_name = choice_of(database_path, tmp_path, 24, neighbours=4, matching_method="sequential").chooser()
    assert by_name is not None
    assert len(true & chosen(by_name)) < 0.4 * len(true)


def test_every_method_has_a_key_of_its_own(database_path: Path, tmp_path: Path) -> None:
    listed = tmp_path / "pairs.txt"
    listed.write_text(f"{NAMES[0]} {NAMES[1]}\n")
    longer = tmp_path / "more.txt"
    longer.write_text(f"{NAMES[0]} {NAMES[1]}\n{NAMES[0]} {NAMES[2]}\n")
    keys = [
        choice_of(database_path, tmp_path, 24, **options).key_parts()
        for options in (
            *({"matching_method": m} for m in MatchingMethod if m is not MatchingMethod.LIST),
            {"pair_list": listed},
            {"pair_list": longer},
            {"retriever": "other"},
        )
    ]
    assert len({repr(key) for key in keys}) == len(keys) == 8
    assert choice_of(database_path, tmp_path, 24, database=database_path).key_parts() == ()


# ---------------------------------------------------------------- a list of the user's


def test_a_list_is_followed_whatever_the_number_of_photos(database_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(
        f"# by hand\n{NAMES[3]} {NAMES[1]}\n\n{NAMES[1]} {NAMES[3]}\n{NAMES[0]} {NAMES[0]}\naway.jpg gone.jpg\n"
    )
    for limit in (24, 200):
        choice = choice_of(database_path, tmp_path, limit, pair_list=path)
        choose = choice.chooser()
        assert choose is not None
        assert chosen(choose) == {ImagePair.sorted(NAMES[1], NAMES[3])}
        (warning,) = choice.log.warnings
        assert "2 names" in warning
        assert "away.jpg" in warning


def test_a_list_may_name_files_or_their_images(database_path: Path, tmp_path: Path) -> None:
    """The image of a photo has another name where COLMAP writes no format of the file's name, which may have blanks."""
    path = tmp_path / "pairs.txt"
    path.write_text("a b.webp c.jpg\na b.png d.heic\n")
    photos = (replace(photo("a b.png"), source="a b.webp"), photo("c.jpg"), replace(photo("d.jpg"), source="d.heic"))
    choice = choice_of(database_path, tmp_path, 200, *photos, pair_list=path)
    assert choice.key_parts()[1] == (ImagePair("a b.png", "c.jpg"), ImagePair("a b.png", "d.jpg"))
    assert choice.log.warnings == []


def test_a_list_without_any_photo_is_refused(database_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("gone.jpg away.jpg\n")
    with pytest.raises(ValueError, match=r"pairs.txt: got no pair of photos .*, expected names such as 00 x"):
        choice_of(database_path, tmp_path, 200, pair_list=path).key_parts()


# ---------------------------------------------------------------- by GPS


def test_spatial_goes_by_gps(database_path: Path, tmp_path: Path) -> None:
    street = [photo(name, GpsPosition(48.0, 11.0 + 1e-4 * place, None)) for name, place in PLACE_OF.items()]
    choose = choice_of(database_path, tmp_path, 24, *street, neighbours=4, matching_method="spatial").chooser()
    assert choose is not None
    pairs = chosen(choose)
    assert {PLACE_OF[pair.a] - PLACE_OF[pair.b] for pair in pairs} == {0}
    assert len(pairs) == NUM_PLACES * NUM_EACH * (NUM_EACH - 1) // 2


def test_spatial_without_positions_is_refused(database_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs GPS positions"):
        choice_of(database_path, tmp_path, 24, matching_method="spatial").chooser()


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"matching_method": "list"}, "needs a file of pairs; name it with --pair-list"),
        ({"matching_method": "spatial", "pair_list": Path("a")}, "got a pair-list and the matching-method spatial"),
        ({"matching_method": "vocab"}, "'vocab' is not a valid MatchingMethod"),
        ({"retriever": ""}, "retriever"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairingOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("chosen", [{"pair_list": Path(__file__)}, {"matching_method": "exhaustive"}])
def test_a_choice_beside_a_database_is_refused(chosen: dict[str, object], database_path: Path) -> None:
    options = ReconstructOptions(database=database_path, pairing=PairingOptions(**chosen))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a database has its own matches: leave matching-method and pair-list out"):
        check_options(options)
    check_options(replace(options, pairing=PairingOptions()))


def test_auto_means_the_list_where_there_is_one() -> None:
    options = PairingOptions(pair_list=Path("pairs.txt"))
    assert options.method_for(5, 200) is options.method_for(500, 200) is MatchingMethod.LIST
    plain = replace(options, pair_list=None)
    assert plain.method_for(200, 200) is MatchingMethod.EXHAUSTIVE
    assert plain.method_for(201, 200) is MatchingMethod.AUTO
