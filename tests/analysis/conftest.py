"""Inverters shared by tests of experiments."""

import pytest

import tfinvert


@pytest.fixture(scope="session")
def fc6():
    """The shipped inverter of AlexNet's fc6."""
    return tfinvert.load("alexnet-fc6-64")
