"""Inverters shared by tests of experiments."""

import functools

import pytest

import tfinvert


@pytest.fixture(scope="session")
def load_shipped():
    """Loads each shipped inverter once."""
    return functools.cache(tfinvert.load)


@pytest.fixture(scope="session")
def fc6(load_shipped):
    """The shipped inverter of AlexNet's fc6."""
    return load_shipped("alexnet-fc6-64")
