"""Experiments run one after the other into one directory, and the page of their claims."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert.analysis.experiment import Claim, Experiment, Measurement, Presentation, make_table
from tfinvert.config.registry import EXPERIMENTS
from tfinvert.reporting.image_rows import image_rows
from tfinvert.runs.analyses import run_experiments
from tfinvert.runs.results import claims_page

FACTS = {"data": "photos", "seed": 0}


def mean_experiment(title, holds=True):
    """An experiment on the mean of the images; its calls are a list in `runs`."""
    runs = []

    def measure(inverters, images, *, seed=0, cache):
        runs.append(seed)
        kept = cache(f"{title}/mean", lambda: {"mean": images.mean((0, 1, 2))})
        value = float(kept["mean"].mean())
        table = make_table({"inverter": name, "hue_error": value} for name in inverters)
        return Measurement(table, {"images": images}, {"seed": seed, "value": value})

    def judge(measurement):
        value = measurement.facts["value"]
        return [Claim("photographs are grey | dark", "a mean", f"{value:.3f}", holds)]

    def present(measurement):
        facts, images = measurement.facts, measurement.arrays["images"]
        figure = image_rows({"photographs": images[:2]}, title=f"{title} seen", caption="")
        findings = [f"{title}: {facts['value']:.3f}, seed {facts['seed']}.", "And more."]
        return Presentation(title, "A lead.", findings, [figure])

    experiment = Experiment(
        order=0, default_inverters=[], measure=measure, judge=judge, present=present
    )
    return experiment, runs


def plain_experiment(measure):
    """An experiment without claims and figures."""
    return Experiment(
        order=0,
        default_inverters=[],
        measure=measure,
        present=lambda measurement: Presentation("T", "", [], []),
    )


@pytest.fixture
def run(tmp_path, photos, inverter):
    def call(experiments, inverters=None, facts=FACTS):
        own = inverters or {"hog": inverter}
        chosen = {name: (experiment, own) for name, experiment in experiments.items()}
        settings = {"seed": 3, "gradient_images": 2}
        return run_experiments(tmp_path / "run", chosen, photos[:4], settings, facts)

    return call


def test_results_figures_summaries_and_a_report(tmp_path, run, photos):
    (first, _), (second, _) = mean_experiment("First"), mean_experiment("Second", holds=False)
    results = run({"layers": first, "color": second})
    assert list(results) == ["layers", "color"]
    assert results["layers"].findings[0] == f"First: {photos[:4].mean():.3f}, seed 3."
    directory = tmp_path / "run"
    assert json.loads((directory / "flags.json").read_text()) == FACTS
    saved = json.loads((directory / "color" / "results.json").read_text())
    assert saved["title"] == "Second" and set(saved["rows"][0]) == {"inverter", "hue_error"}
    assert (directory / "layers" / "01-first-seen.svg").exists()
    assert (directory / "parts" / "First" / "mean.npz").exists()
    page = (directory / "report.html").read_text()
    assert page.index("First: ") < page.index("Second: ") < page.index("<figure>")
    for text in ("photographs are grey | dark", "And more.", "2 experiments: layers, color."):
        assert text in page
    assert "hue error (degrees)</th>" in page and "hue_error" not in page
    events = [
        value.tag
        for file in (directory / "summaries").glob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert sorted(events) == ["color/Second seen", "layers/First seen"]
    page = claims_page({"AlexNet": directory})
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows[0].startswith("| experiment | the paper found |")
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| layers", "| color"]
    assert "photographs are grey \\| dark" in rows[2]
    assert rows[2].endswith("| yes |")
    assert rows[3].endswith("| **no** |")
    assert "Made with data photos, seed 0, hog." in page


def test_a_finished_experiment_is_read_and_another_added(tmp_path, run):
    (first, firsts), (second, seconds) = mean_experiment("First"), mean_experiment("Second")
    run({"layers": first})
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h1>First</h1>" in page
    results = run({"layers": first, "color": second})
    assert (firsts, seconds) == ([3], [3])
    assert results["layers"].title == "First"
    assert "Second: " in (tmp_path / "run" / "report.html").read_text()


def test_results_with_words_for_keys_are_reported(tmp_path, run):
    """As tfinvert 0.3 and earlier wrote them."""
    (first, firsts), (second, _) = mean_experiment("First"), mean_experiment("Second")
    run({"layers": first})
    path = tmp_path / "run" / "layers" / "results.json"
    values = json.loads(path.read_text())
    values["rows"] = [{"inverter": "hog", "normalised error": 0.5, "PSNR (dB)": None}]
    path.write_text(json.dumps(values))
    results = run({"layers": first, "color": second})
    assert firsts == [3] and results["layers"].rows == values["rows"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "normalised error</th>" in page and "PSNR (dB)</th>" in page


def test_an_interrupted_run_resumes_from_cached_results(tmp_path, run):
    made = []

    def stops(inverters, images, *, cache):
        cache("slow", lambda: made.append(1) or {"a": np.ones(1)})
        if len(made) == 1 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt
        return Measurement(make_table([]))

    with pytest.raises(KeyboardInterrupt):
        run({"layers": plain_experiment(stops)})
    assert not (tmp_path / "run" / "layers").exists()
    run({"layers": plain_experiment(stops)})
    assert len(made) == 1


def test_a_run_is_not_continued_with_other_facts_or_inverters(run, inverter):
    experiment = {"layers": mean_experiment("First")[0]}
    run(experiment)
    with pytest.raises(tfinvert.InputError, match=r"seed=1 \(was 0\)"):
        run(experiment, facts=FACTS | {"seed": 1})
    with pytest.raises(tfinvert.InputError, match="other inverters.*Received: lbp, was: hog"):
        run(experiment, {"lbp": inverter})
    anew = tfinvert.Inverter(
        inverter.feature, inverter.standardization, inverter.network, {"steps": 9}
    )
    with pytest.raises(tfinvert.InputError, match="other inverters.*Received: hog, was: hog"):
        run(experiment, {"hog": anew})


def test_unsuitable_inverters_are_refused_before_anything_is_written(tmp_path, run):
    with pytest.raises(tfinvert.InputError, match="keypoints takes inverters of sift"):
        run({"layers": mean_experiment("A")[0], "keypoints": EXPERIMENTS["keypoints"]})
    assert not (tmp_path / "run").exists()


def test_earlier_results_are_in_the_report_where_one_fails(tmp_path, run):
    def fails(inverters, images):
        raise tfinvert.InputError("too few images")

    with pytest.raises(tfinvert.InputError, match="too few images"):
        run({"layers": mean_experiment("First")[0], "color": plain_experiment(fails)})
    assert "<h1>First</h1>" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_every_experiment_accepts_its_default_inverters():
    load = functools.cache(tfinvert.load)
    for name, experiment in EXPERIMENTS.items():
        for label in experiment.default_inverters:
            assert experiment.accepts(label, load(label)), (name, label)


def test_a_page_of_claims_needs_some(tmp_path, run):
    with pytest.raises(tfinvert.InputError, match="run directory"):
        claims_page({"AlexNet": tmp_path})
    run({"layers": plain_experiment(lambda inverters, images: Measurement(make_table([])))})
    with pytest.raises(tfinvert.InputError, match="with an experiment that tests a claim"):
        claims_page({"AlexNet": tmp_path / "run"})
