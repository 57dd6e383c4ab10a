from tests.programs import call, error_line


def test_export_and_check(inverter, tmp_path):
    inverter.save(tmp_path / "inverter")
    model = tmp_path / "models" / "hog"
    flags = [f"--inverter={tmp_path / 'inverter'}", f"--output={model}"]
    result = call("export/export_savedmodel.py", *flags)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{model}/1: serving_default, reconstruct_bytes, invert\n")
    again = call("export/export_savedmodel.py", *flags)
    assert error_line(again).startswith(f"error: {model}/1 exists already")
    result = call("export/check_savedmodel.py", f"--model={model}/1")
    assert result.returncode == 0, result.stderr
    assert "reconstruct_bytes\n  takes image_bytes: string [?]\n" in result.stdout
    assert f"\n{model}/1: can be served\n" in result.stdout


def test_what_is_no_model_is_refused(tmp_path):
    result = call("export/check_savedmodel.py", f"--model={tmp_path}")
    assert error_line(result).startswith(f"error: no SavedModel at {tmp_path}")
    assert not result.stdout
