import numpy as np
import pytest

from tests.untrained import build_tiny_inverter


@pytest.fixture(scope="session")
def tiny_inverter(photos):
    return build_tiny_inverter(photos)


@pytest.fixture(scope="session")
def few_photos(photos) -> np.ndarray:
    """Every sixth photograph: `[n, 64, 64, 3]`."""
    return photos[::6]
