import json

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert.analysis.experiment import EXPERIMENTS, Experiment
from tfinvert.analysis.result import Claim, Result
from tfinvert.reporting.image_rows import image_rows
from tfinvert.runs.analyses import run_experiments
from tfinvert.runs.results import claims_page

FACTS = {"data": "photos", "seed": 0}


class Mean:
    """An experiment that counts how often it is asked."""

    def __init__(self, title, holds=True):
        self.title, self.holds, self.asked = title, holds, 0

    def __call__(self, inverters, images, *, seed=0, parts):
        self.asked += 1
        kept = parts(f"{self.title}/mean", lambda: {"mean": images.mean((0, 1, 2))})
        value = float(kept["mean"].mean())
        claim = Claim("photographs are grey | dark", "a mean", f"{value:.3f}", self.holds)
        figure = image_rows({"photographs": images[:2]}, title=f"{self.title} seen", caption="")
        findings = [f"{self.title}: {value:.3f}, seed {seed}.", "And more."]
        rows = [{"inverter": name, "mean": value} for name in inverters]
        return Result(self.title, "A lead.", findings, rows, [figure], [claim])


@pytest.fixture
def ask(tmp_path, photos, inverter):
    def call(experiments, inverters=None, facts=FACTS, workdir="run"):
        own = inverters or {"hog": inverter}
        asked = {name: (experiment, own) for name, experiment in experiments.items()}
        settings = {"seed": 3, "gradient_images": 2}
        return run_experiments(tmp_path / workdir, asked, photos[:4], settings, facts)

    return call


def test_results_figures_summaries_and_a_report(tmp_path, ask, photos):
    first, second = Mean("First"), Mean("Second", holds=False)
    results = ask({"layers": Experiment(first, []), "color": Experiment(second, [])})
    assert list(results) == ["layers", "color"]
    assert results["layers"].findings[0] == f"First: {photos[:4].mean():.3f}, seed 3."
    run = tmp_path / "run"
    assert json.loads((run / "flags.json").read_text()) == FACTS
    assert json.loads((run / "color" / "results.json").read_text())["title"] == "Second"
    assert (run / "layers" / "01-first-seen.svg").exists()
    assert (run / "parts" / "First" / "mean.npz").exists()
    page = (run / "report.html").read_text()
    assert page.index("First: ") < page.index("Second: ") < page.index("<figure>")
    for text in ("photographs are grey | dark", "And more.", "2 experiments: layers, color."):
        assert text in page
    events = [
        value.tag
        for file in (run / "summaries").glob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert sorted(events) == ["color/Second seen", "layers/First seen"]


def test_a_finished_experiment_is_read_and_another_added(tmp_path, ask):
    first, second = Mean("First"), Mean("Second")
    ask({"layers": Experiment(first, [])})
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h1>First</h1>" in page
    results = ask({"layers": Experiment(first, []), "color": Experiment(second, [])})
    assert (first.asked, second.asked) == (1, 1)
    assert results["layers"].title == "First"
    assert "Second: " in (tmp_path / "run" / "report.html").read_text()


def test_a_stopped_run_goes_on_with_the_parts_it_had(tmp_path, ask, photos):
    made = []

    def stops(inverters, images, *, parts):
        parts("slow", lambda: made.append(1) or {"a": np.ones(1)})
        if len(made) == 1 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt
        return Result("T", "", [], [], [])

    with pytest.raises(KeyboardInterrupt):
        ask({"layers": Experiment(stops, [])})
    assert not (tmp_path / "run" / "layers").exists()
    ask({"layers": Experiment(stops, [])})
    assert len(made) == 1


def test_a_run_is_not_continued_with_other_facts_or_inverters(ask, inverter):
    experiment = {"layers": Experiment(Mean("First"), [])}
    ask(experiment)
    with pytest.raises(tfinvert.InputError, match=r"other flags: seed=1 \(was 0\)"):
        ask(experiment, facts=FACTS | {"seed": 1})
    with pytest.raises(tfinvert.InputError, match="made with other inverters: hog, or"):
        ask(experiment, {"lbp": inverter})
    anew = tfinvert.Inverter(
        inverter.feature, inverter.standardization, inverter.network, {"steps": 9}
    )
    with pytest.raises(tfinvert.InputError, match="made with other inverters: hog, or"):
        ask(experiment, {"hog": anew})


def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path, ask):
    with pytest.raises(tfinvert.InputError, match="keypoints takes inverters of sift"):
        ask({"layers": Experiment(Mean("A"), []), "keypoints": EXPERIMENTS["keypoints"]})
    assert not (tmp_path / "run").exists()


def test_every_experiment_looks_at_inverters_that_ship_and_fit():
    shipped = set(tfinvert.shipped())
    for name, experiment in EXPERIMENTS.items():
        assert set(experiment.shipped) <= shipped, name
        for label in experiment.shipped:
            assert experiment.fits(label, tfinvert.load(label)), (name, label)


def test_the_page_of_claims(tmp_path, ask):
    ask({"units": Experiment(Mean("U"), []), "color": Experiment(Mean("C", holds=False), [])})
    page = claims_page({"AlexNet": tmp_path / "run"})
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows[0].startswith("| experiment | the paper found |")
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| color", "| units"]
    assert "photographs are grey \\| dark" in rows[2]
    assert rows[2].endswith("| **no** |")
    assert rows[3].endswith("| yes |")
    assert "Of data photos, seed 0, hog." in page


def test_a_page_of_claims_needs_some(tmp_path, ask):
    with pytest.raises(tfinvert.InputError, match="is no run directory"):
        claims_page({"AlexNet": tmp_path})
    ask({"layers": Experiment(lambda inverters, images: Result("T", "", [], [], []), [])})
    with pytest.raises(tfinvert.InputError, match="has no experiment that tests a finding"):
        claims_page({"AlexNet": tmp_path / "run"})
