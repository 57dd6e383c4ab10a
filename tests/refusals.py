"""Assertions on input errors, which are one line."""

import pytest

from tfinvert.errors import InputError


def refused(call, *words):
    """Asserts that a call raises an `InputError` of one line with these words; returns the line."""
    with pytest.raises(InputError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line
    return line
