"""Results of experiments as directories."""

import io
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tfinvert.analysis.experiment import Claim, Result
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure
from tfinvert.runs.results import claims_page, finished_results, load_result, save_result


@pytest.fixture
def result(photos):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, format="GIF")
    return Result(
        "What?",
        "How.",
        ["It was 0.5."],
        [
            {"layer": "fc6", "error": 0.5, "steps": None},
            {"layer": "fc7", "error": 0.6, "steps": 7},
        ],
        [
            image_rows({"a": photos[:2]}, title="Pictures: both / all", caption="Two."),
            Figure("Moving", "", gif=buffer.getvalue()),
        ],
        [Claim("a finding", "a number above 0.4", "0.5 ± 0.1", True)],
    )


def test_a_result_comes_back_as_it_was(tmp_path, result):
    save_result(tmp_path / "layers", result, seconds=1.5)
    assert sorted(path.name for path in (tmp_path / "layers").iterdir()) == [
        "01-pictures-both-all.png",
        "01-pictures-both-all.svg",
        "02-moving.gif",
        "results.csv",
        "results.json",
    ]
    again, facts = load_result(tmp_path / "layers")
    assert facts == {"seconds": 1.5}
    for part in ("title", "lead", "findings", "rows", "claims"):
        assert getattr(again, part) == getattr(result, part)
    for figure, expected in zip(again.figures, result.figures, strict=True):
        assert (figure.title, figure.caption) == (expected.title, expected.caption)
        assert (figure.svg, figure.gif) == (expected.svg, expected.gif)
        np.testing.assert_array_equal(figure.image, expected.image)


def test_the_numbers_are_a_table_for_a_notebook_too(tmp_path, result):
    save_result(tmp_path / "a", result)
    assert (
        tmp_path / "a" / "results.csv"
    ).read_text() == "layer,error,steps\nfc6,0.5,\nfc7,0.6,7\n"


def test_the_vectors_are_files_of_their_own(tmp_path, result):
    save_result(tmp_path / "a", result)
    assert (tmp_path / "a" / "01-pictures-both-all.svg").read_text().startswith("<?xml")


def test_missing_and_damaged_results(tmp_path, result):
    with pytest.raises(tfinvert.InputError, match="contains no result of an experiment"):
        load_result(tmp_path)
    save_result(tmp_path / "a", result)
    path = tmp_path / "a" / "results.json"
    values = json.loads(path.read_text())
    for damaged in ("{", "[]", json.dumps(values | {"claims": [{"other": 1}]})):
        path.write_text(damaged)
        with pytest.raises(tfinvert.InputError, match="results.json is damaged"):
            load_result(tmp_path / "a")
    path.write_text(json.dumps(values))
    (tmp_path / "a" / "02-moving.gif").unlink()
    with pytest.raises(tfinvert.InputError, match="results.json is damaged: .* needs an image"):
        load_result(tmp_path / "a")


def test_results_of_version_0_3_0_are_read(tmp_path):
    """Without their figures; their rows have words for keys."""
    run = pathlib.Path(__file__).parent / "analyses_0_3_0"
    results = {name: result for name, result, _ in finished_results(run)}
    assert list(results) == ["layers", "color"]
    (row, _) = results["color"].rows
    assert row["layer"] == "conv5" and row["mean error (degrees)"] == pytest.approx(21.43, abs=0.01)
    assert [claim.holds for claim in results["layers"].claims] == [True, False, True]
    page = claims_page({"AlexNet": run})
    assert "| layers | The error grows with depth. | " in page
    save_result(tmp_path / "again", results["color"])
    assert load_result(tmp_path / "again")[0] == results["color"]
