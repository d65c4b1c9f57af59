"""The compiled loader, for tests."""

from pathlib import Path

import pytest
from processes import StartError
from sessions import build


@pytest.fixture(scope="session")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is."""
    try:
        return build(tmp_path_factory.mktemp("loader"))
    except StartError as error:
        pytest.skip(str(error))
