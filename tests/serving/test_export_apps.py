import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def run(app, *flags):
    """An app of export/ in a fresh process."""
    return subprocess.run(
        [sys.executable, ROOT / "export" / app, *flags],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_export_and_check(inverter, tmp_path):
    inverter.save(tmp_path / "inverter")
    model = tmp_path / "models" / "hog"
    flags = [f"--inverter={tmp_path / 'inverter'}", f"--output={model}"]
    result = run("export_savedmodel.py", *flags)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{model}/1: serving_default, reconstruct_bytes, invert\n")
    again = run("export_savedmodel.py", *flags)
    assert again.returncode == 2
    assert "Traceback" not in again.stderr
    assert again.stderr.splitlines()[-1].startswith(f"error: {model}/1 exists already")
    result = run("check_savedmodel.py", f"--model={model}/1")
    assert result.returncode == 0, result.stderr
    assert "reconstruct_bytes\n  takes image_bytes: string [?]\n" in result.stdout
    assert f"\n{model}/1: can be served\n" in result.stdout


def test_what_is_no_model_is_refused(tmp_path):
    result = run("check_savedmodel.py", f"--model={tmp_path}")
    assert result.returncode == 2
    assert not result.stdout
    assert result.stderr.splitlines()[-1].startswith(f"error: no SavedModel at {tmp_path}")
