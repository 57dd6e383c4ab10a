"""Input that is refused in one line."""

import pytest

from tfinvert.errors import InputError


def refused(call, *words):
    """Calls what must raise an `InputError`, and gives its line, which has these words."""
    with pytest.raises(InputError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line
    return line
