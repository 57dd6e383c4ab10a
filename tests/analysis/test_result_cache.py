import numpy as np
import pytest

import tfinvert
from tfinvert.analysis.experiments import invariance, iterate, position
from tfinvert.analysis.result_cache import ResultCache


def test_a_part_is_made_once_and_read_again_by_another_run(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"images": np.arange(6.0).reshape(2, 3), "errors": np.float32(0.5)}

    first = ResultCache(tmp_path)("compare/fc6-gradient", make)
    again = ResultCache(tmp_path)("compare/fc6-gradient", make)
    assert len(made) == 1
    for arrays in (first, again):
        np.testing.assert_array_equal(arrays["images"], [[0, 1, 2], [3, 4, 5]])
        assert arrays["errors"] == np.float32(0.5)
    ResultCache(tmp_path)("compare/fc7-gradient", make)
    assert len(made) == 2


def test_without_a_directory_nothing_is_kept():
    made = []
    parts = ResultCache()
    for _ in range(2):
        parts("a", lambda: made.append(1) or {"a": np.zeros(1)})
    assert len(made) == 2


def test_a_part_that_was_stopped_leaves_nothing(tmp_path):
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ResultCache(tmp_path)("a", stopped)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_part_is_named(tmp_path):
    parts = ResultCache(tmp_path)
    parts("a", lambda: {"a": np.zeros(100)})
    path = tmp_path / "a.npz"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(tfinvert.InputError, match="a.npz is damaged: "):
        parts("a", lambda: {})


@pytest.mark.parametrize("experiment", [invariance, iterate, position])
def test_experiments_that_take_minutes_go_on_from_what_they_had(
    tmp_path, photos, inverter, experiment
):
    class Stopped(ResultCache):
        """Is interrupted before the second inverter."""

        def __call__(self, name, make):
            if name.endswith("second"):
                raise KeyboardInterrupt
            return super().__call__(name, make)

    inverters = {"first": inverter, "second": inverter}
    few = {iterate: {"times": 2}, position: {"places": 2}}.get(experiment, {})
    whole = experiment(inverters, photos[:4], **few)
    with pytest.raises(KeyboardInterrupt):
        experiment(inverters, photos[:4], **few, parts=Stopped(tmp_path))
    (kept,) = tmp_path.glob("*/first.npz")
    written = kept.stat().st_mtime_ns
    again = experiment(inverters, photos[:4], **few, parts=ResultCache(tmp_path))
    assert again.rows == whole.rows
    assert again.findings == whole.findings
    assert kept.stat().st_mtime_ns == written
