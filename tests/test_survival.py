"""Programs that are killed and started again, as benchmarks/survival.py does a hundred times."""

import json
import zipfile

import numpy as np
import pytest
import survival
from PIL import Image


@pytest.mark.slow
def test_ten_that_are_killed_end_as_unbroken_ones(tmp_path):
    trials = survival.survive(10, 1, tmp_path)
    assert [trial.wrong for trial in trials] == [""] * 10
    assert {trial.phase for trial in trials} == {*survival.PHASES}
    assert sum(trial.hit for trial in trials) >= 5


def test_what_is_not_whole_or_differs_is_seen(tmp_path):
    def write(place, value):
        (place / "run").mkdir(parents=True)
        (place / "run" / "metrics.json").write_text(json.dumps({"psnr": value, "seconds": value}))
        np.savez(place / "run" / "weights.npz", w=np.array([1.0]))
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(place / "run" / "a.png")
        (place / "run" / ".0123456789ab.half").write_text("{")
        return survival._contents(place)

    one = write(tmp_path / "1", 1)
    assert [*one] == ["run/a.png", "run/metrics.json", "run/weights.npz"]
    assert survival._difference(one, write(tmp_path / "2", 2)) == "run/metrics.json"
    assert survival._difference(one, {}) == ", ".join(one)
    for name in one:
        whole = (tmp_path / "1" / name).read_bytes()
        (tmp_path / "1" / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises((ValueError, OSError, EOFError, zipfile.BadZipFile)):
            survival._contents(tmp_path / "1")
        (tmp_path / "1" / name).write_bytes(whole)
