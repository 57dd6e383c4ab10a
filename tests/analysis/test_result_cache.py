"""The cache of slow intermediate results."""

import numpy as np
import pytest

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert.analysis.result_cache import ResultCache
from tfinvert.config.registry import EXPERIMENTS


def halve(images):
    return images / 2


def test_a_result_is_computed_once_and_read_by_another_run(tmp_path):
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
    cache = ResultCache()
    for _ in range(2):
        cache("a", lambda: made.append(1) or {"a": np.zeros(1)})
    assert len(made) == 2


def test_an_interrupted_computation_leaves_nothing(tmp_path):
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ResultCache(tmp_path)("a", stopped)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path):
    cache = ResultCache(tmp_path)
    cache("a", lambda: {"a": np.zeros(100)})
    path = tmp_path / "a.npz"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(tfinvert.InputError, match="a.npz is damaged: "):
        cache("a", lambda: {})


class Interrupted(ResultCache):
    """Is interrupted before the second inverter."""

    def __call__(self, name, compute):
        if name.endswith("second"):
            raise KeyboardInterrupt
        return super().__call__(name, compute)


@pytest.mark.parametrize("presented", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("invariance", {"rotations": (20.0,), "shifts": (), "scales": (), "blurs": ()}),
        ("iterate", {"times": 2}),
        ("position", {"places": 2}),
    ],
)
def test_slow_experiments_resume_from_the_cache(tmp_path, photos, name, settings, presented):
    experiment = EXPERIMENTS[name]
    inverters = {"first": stub_inverter(echo, "fc6"), "second": stub_inverter(halve, "fc7")}

    def run(**cache):
        if presented:
            return experiment.run(inverters, photos[:4], settings | cache)
        return experiment.measure(inverters, photos[:4], **settings, **cache)

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(cache=Interrupted(tmp_path))
    (kept,) = tmp_path.glob("*/first.npz")
    written = kept.stat().st_mtime_ns
    again = run(cache=ResultCache(tmp_path))
    assert again.rows == whole.rows
    assert not presented or again.findings == whole.findings
    assert kept.stat().st_mtime_ns == written
