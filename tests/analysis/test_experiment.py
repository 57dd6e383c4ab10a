"""The framework of experiments: measure, judge, present; and a new one in one file."""

import textwrap

import numpy as np
import pandas as pd
import pytest

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert.analysis import experiments
from tfinvert.analysis.experiment import (
    Claim,
    Exhibit,
    Experiment,
    Measurement,
    Presentation,
    Result,
    make_table,
)
from tfinvert.config.registry import EXPERIMENTS
from tfinvert.reporting.image_rows import image_rows

NEW = textwrap.dedent('''
    """Mean brightness of reconstructions."""

    from tfinvert.analysis.experiment import Experiment, Measurement, Presentation, make_table
    from tfinvert.analysis.inverters import inverter_columns
    from tfinvert.reporting.columns import format_rows


    def measure(inverters, images, *, scale=1.0):
        means = {name: x.reconstruct(images).mean() for name, x in inverters.items()}
        return Measurement(
            make_table(
                inverter_columns(name, x) | {"mean_brightness": scale * float(means[name])}
                for name, x in inverters.items()
            )
        )


    def present(measurement):
        findings = [format_rows(measurement.table, "{layer} {mean_brightness:.2f}")]
        return Presentation("Brightness", "Means.", findings, [])


    EXPERIMENT = Experiment(order=1, default_inverters=["hog-64"], measure=measure, present=present)
''').lstrip()


def test_an_experiment_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "brightness.py").write_text(NEW, encoding="utf-8")
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(tmp_path)])
    assert "brightness" in list(EXPERIMENTS)
    assert EXPERIMENTS.describe("brightness") == "Mean brightness of reconstructions."
    assert next(iter(EXPERIMENTS)) == "brightness"
    grey = np.full((2, 8, 8, 3), 0.25, np.float32)
    settings = {"scale": 2.0, "seed": 3}  # of which it has one
    result = EXPERIMENTS["brightness"].run({"a": stub_inverter(echo, "fc7")}, grey, settings)
    assert result.rows == [
        {"inverter": "a", "layer": "fc7", "kind": "inversion network", "mean_brightness": 0.5}
    ]
    assert result.findings == ["fc7 0.50"] and result.claims == []


def test_measure_judge_present_in_that_order(photos):
    order = []

    def measure(inverters, images, *, seed=0):
        order.append("measure")
        return Measurement(make_table([{"mean": float(images.mean()), "label": "a"}]), {}, {})

    def judge(measurement):
        order.append("judge")
        return [Claim("dark", "", "", bool(measurement.table["mean"][0] < 1))]

    def present(measurement):
        order.append("present")
        return Presentation("T", "L", ["F"], [])

    def check(name, inverter):
        if name != "a":
            raise tfinvert.InputError("takes a")

    experiment = Experiment(
        order=1, default_inverters=[], measure=measure, judge=judge, present=present, check=check
    )
    result = experiment.run({"a": None}, photos[:2])
    assert sorted(order) == ["judge", "measure", "present"] and order[0] == "measure"
    assert result == Result(
        "T", "L", ["F"], [{"mean": float(photos[:2].mean())}], [], [Claim("dark", "", "", True)]
    )
    assert experiment.accepts("a", None) and not experiment.accepts("b", None)
    with pytest.raises(tfinvert.InputError, match="takes a"):
        experiment.run({"a": None, "b": None}, photos[:2])


def test_tables_keep_integers_and_missing_values():
    rows = [
        {"inverter": "a", "steps": 7, "count": 1, "error": 1, "note": None},
        {"inverter": "b", "steps": None, "count": 2, "error": 0.5, "note": None},
    ]
    table = make_table(rows)
    assert [str(dtype) for dtype in table.dtypes[1:4]] == ["Int64", "int64", "float64"]
    again = Measurement(table.assign(label="x", axes=1)).rows
    assert again == rows
    assert [type(again[0][key]) for key in ("steps", "count", "error")] == [int, int, float]


@pytest.mark.parametrize("column", ["normalised error", "PSNR", "a±"])
def test_columns_are_in_snake_case(column):
    with pytest.raises(ValueError, match="must be in snake_case. Received"):
        Measurement(pd.DataFrame({column: [1.0]}))


def test_an_exhibit_finds_its_figures_and_claim(photos):
    figures = [image_rows({"a": photos[:1]}, title=x, caption="") for x in ("A 1", "A 2", "B")]
    result = Result("", "", [], [], figures, [Claim("X holds", "", "", True)])
    assert Exhibit(1, "", "A", "").figures(result) == figures[:1]
    assert Exhibit(1, "", "A", "", chosen=slice(-1, None)).figures(result) == figures[1:2]
    assert Exhibit(1, "", "A", "", "X").claim(result) == result.claims[0]
    assert (
        Exhibit(1, "", "A", "", "Y").claim(result) is Exhibit(1, "", "A", "").claim(result) is None
    )


def test_every_experiment_is_declared_whole():
    shipped = set(tfinvert.shipped())
    orders = [experiment.order for experiment in EXPERIMENTS.values()]
    assert len({*orders}) == len(orders) and orders == sorted(orders)
    for name, experiment in EXPERIMENTS.items():
        assert EXPERIMENTS.describe(name).endswith(".")
        assert set(experiment.default_inverters) <= shipped, name
