from pathlib import Path

import pytest

from base_models import Base, make_base


@pytest.fixture(scope="package")
def original(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Not to be changed."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(original: Base, tmp_path: Path) -> Base:
    """A copy that a test may change."""
    return original.copy(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    return path
