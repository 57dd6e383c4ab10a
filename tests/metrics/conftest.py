import pytest

from tests.untrained import build_tiny_inverter


@pytest.fixture(scope="session")
def inverter(photos):
    return build_tiny_inverter(photos)
