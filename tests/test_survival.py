"""Killed programs resume to the same result; benchmarks/survival.py kills a hundred times."""

import json
import zipfile

import numpy as np
import pytest
import survival
from PIL import Image

# The network and the optimiser that are traced most quickly, and one inverter.
QUICK = {"training": ("--network=paper", "--optimizer=adam"), "analysis": ("--inverters=sift-64",)}
QUICK["cache"] = QUICK["training"]


@pytest.mark.slow
def test_ten_killed_programs_resume_to_the_same_result(tmp_path):
    programs = {name: (*command, *QUICK[name]) for name, command in survival.PROGRAMS.items()}
    trials = survival.survive(10, 1, tmp_path, programs)
    assert [trial.wrong for trial in trials] == [""] * 10
    assert {trial.phase for trial in trials} == {*survival.PHASES}
    assert sum(trial.hit for trial in trials) >= 5


def test_incomplete_and_different_files_are_found(tmp_path):
    def write(place, value):
        (place / "run").mkdir(parents=True)
        (place / "run" / "metrics.json").write_text(json.dumps({"psnr": value, "seconds": value}))
        np.savez(place / "run" / "weights.npz", w=np.array([1.0]))
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(place / "run" / "a.png")
        (place / "run" / ".0123456789ab.half").write_text("{")
        return survival.digest_files(place)

    one = write(tmp_path / "1", 1)
    assert [*one] == ["run/a.png", "run/metrics.json", "run/weights.npz"]
    assert survival.find_differences(one, write(tmp_path / "2", 2)) == "run/metrics.json"
    assert survival.find_differences(one, {}) == ", ".join(one)
    for name in one:
        whole = (tmp_path / "1" / name).read_bytes()
        (tmp_path / "1" / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises((ValueError, OSError, EOFError, zipfile.BadZipFile)):
            survival.digest_files(tmp_path / "1")
        (tmp_path / "1" / name).write_bytes(whole)
