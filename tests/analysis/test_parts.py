import numpy as np
import pytest

import tfinvert
from tfinvert.analysis.parts import Parts


def test_a_part_is_made_once_and_read_again_by_another_run(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"images": np.arange(6.0).reshape(2, 3), "errors": np.float32(0.5)}

    first = Parts(tmp_path)("compare/fc6-gradient", make)
    again = Parts(tmp_path)("compare/fc6-gradient", make)
    assert len(made) == 1
    for arrays in (first, again):
        np.testing.assert_array_equal(arrays["images"], [[0, 1, 2], [3, 4, 5]])
        assert arrays["errors"] == np.float32(0.5)
    Parts(tmp_path)("compare/fc7-gradient", make)
    assert len(made) == 2


def test_without_a_directory_nothing_is_kept():
    made = []
    parts = Parts()
    for _ in range(2):
        parts("a", lambda: made.append(1) or {"a": np.zeros(1)})
    assert len(made) == 2


def test_a_part_that_was_stopped_leaves_nothing(tmp_path):
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Parts(tmp_path)("a", stopped)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_part_is_named(tmp_path):
    parts = Parts(tmp_path)
    parts("a", lambda: {"a": np.zeros(100)})
    path = tmp_path / "a.npz"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(tfinvert.InputError, match="a.npz is damaged: "):
        parts("a", lambda: {})
