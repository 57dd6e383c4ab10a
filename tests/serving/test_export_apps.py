"""The programs in export/ that write and check a SavedModel."""

import pytest

from tests import programs
from tests.programs import call, error_line


@pytest.mark.parametrize("run", [programs.run, pytest.param(call, marks=pytest.mark.slow)])
def test_export_and_check(run, inverter, tmp_path):
    inverter.save(tmp_path / "inverter")
    model = tmp_path / "models" / "hog"
    flags = [f"--inverter={tmp_path / 'inverter'}", f"--output={model}"]
    result = run("export/export_savedmodel.py", *flags)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{model}/1: serving_default, reconstruct_bytes, invert\n")
    again = run("export/export_savedmodel.py", *flags)
    assert error_line(again).startswith(f"error: {model}/1 already exists")
    result = run("export/check_savedmodel.py", f"--model={model}/1")
    assert result.returncode == 0, result.stderr
    assert "reconstruct_bytes\n  input image_bytes: string [?]\n" in result.stdout
    assert f"\n{model}/1: can be served\n" in result.stdout


def test_a_directory_without_a_model_is_rejected(tmp_path):
    result = programs.run("export/check_savedmodel.py", f"--model={tmp_path}")
    assert error_line(result).startswith(f"error: there is no SavedModel at {tmp_path}")
    assert not result.stdout
