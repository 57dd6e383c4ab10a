"""Files that version 0.3.0 made go on working: inverters, checkpoints, caches and run directories.

`files/` is what its programs left, with most pictures of `analyses/interpolate` made small;
`expected.npz` is what its inverters computed.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest

import tfinvert
from tests.programs import error_line, run
from tfinvert.networks import weights
from tfinvert.runs.results import claims_page, load_result
from tfinvert.runs.run_directory import open_run, read_flags
from tfinvert.training import datasets

FILES = pathlib.Path(__file__).parent / "files"
CACHE = next((FILES / "cache").iterdir())

COMMON = ("--data=folder:photographs", "--validation_data=folder:photographs", "--image_size=32")
COMMON += ("--batch_size=4", "--strategy=one", "--log_every=1")
TRAIN = ("recipes/train_inverter.py", "--feature=hog", *COMMON, "--width=0.1")
INTERRUPTED = ("--steps=6", "--validation_images=8", "--learning_rate=2e-3", "--warmup_steps=1")
INTERRUPTED += ("--cache=cache", "--cached_views=2", "--workdir=interrupted")
OLD = {
    "--averaging=0.9": "--ema_decay=0.9",
    "--spike=4": "--spike_threshold=4",
    "--start=start": "--init_from=start",
    "--dtype=float16": "--weights_dtype=float16",
    "--jitter=0.5": "--color_jitter=0.5",
    "--accumulate=2": "--accumulation_steps=2",
    "--spread=beside": "--uncertainty=joint",
    "--loss=squared:2,absolute": "--loss=mse:2,mae",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A copy of the files, without the inverter from which the interrupted run started."""
    shutil.copytree(FILES, tmp_path / "files", ignore=shutil.ignore_patterns("start"))
    monkeypatch.chdir(tmp_path / "files")
    return tmp_path / "files"


def losses(path):
    return [json.loads(line)["loss"] for line in path.read_text().splitlines()]


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize(
    "name",
    [
        "start",
        "finished/inverter",
        pytest.param("sampler/inverter", marks=pytest.mark.slow),
        "autoencoder/inverter",
    ],
)
def test_an_inverter_computes_what_it_computed(name, tmp_path):
    expected = arrays(FILES / "expected.npz")
    inverter = tfinvert.load(FILES / name)
    kind = name.partition("/")[0]
    features = inverter.encode(expected["images"])
    computed = {"features": features, "reconstruction": inverter.reconstruct(expected["images"])}
    if f"{kind}/uncertainty" in expected:
        computed["uncertainty"] = inverter.uncertainty(features)
    if f"{kind}/samples" in expected:
        computed["samples"] = inverter.sample(features, 2, seed=3)
    assert {f"{kind}/{x}" for x in computed} == {x for x in expected if x.startswith(f"{kind}/")}
    for key, value in computed.items():
        np.testing.assert_allclose(value, expected[f"{kind}/{key}"], atol=1e-4)
    assert inverter.card["versions"]["tfinvert"] == "0.3.0"
    inverter.save(tmp_path / "again")
    saved, again = (arrays(path / "weights.npz") for path in (FILES / name, tmp_path / "again"))
    assert saved.keys() == again.keys()


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_with_its_old_flags_and_its_cache(place, monkeypatch):
    recorded = json.loads((CACHE / "cache.json").read_text())["versions"]
    monkeypatch.setattr(datasets, "library_versions", lambda: recorded)
    finished = run(*TRAIN, *INTERRUPTED, *OLD)
    assert finished.returncode == 0, finished.stderr
    assert "16 cached views" in finished.stdout
    for old, new in OLD.items():
        given = old if old[2:6] in ("spre", "loss") else old.partition("=")[0]
        new = new if given == old else new.partition("=")[0]
        assert f"warning: {given} is deprecated; use {new}\n" in finished.stderr
    expected = FILES / "finished"
    history = losses(place / "interrupted" / "history.jsonl")
    np.testing.assert_allclose(history, losses(expected / "history.jsonl"), rtol=1e-4)
    ours, theirs = (
        arrays(x / "inverter" / "weights.npz") for x in (place / "interrupted", expected)
    )
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, atol=2e-3, err_msg=name)
    finished = run(*TRAIN, *INTERRUPTED, *OLD.values())
    assert finished.returncode == 0, finished.stderr
    assert "is already complete" in finished.stdout
    assert "deprecated" not in finished.stderr
    finished = run(*TRAIN, *INTERRUPTED, *[*OLD][1:])
    assert "ema_decay=0.999 (was 0.9)" in error_line(finished)


@pytest.mark.slow
def test_a_sampler_is_evaluated_from_its_checkpoint(place, few_blocks):
    shutil.copytree(FILES / "start", place / "start")
    (place / "sampler" / "metrics.json").unlink()
    shutil.rmtree(place / "sampler" / "inverter")
    flags = ("--start=start", "--samples", "--dtype=float16", "--averaging=0.9", "--steps=2")
    finished = run(*TRAIN, *flags, "--workdir=sampler")
    assert finished.returncode == 0, finished.stderr
    expected = json.loads((FILES / "sampler" / "inverter" / "inverter.json").read_text())["made"]
    card = tfinvert.load(place / "sampler" / "inverter").card
    for key, value in expected["samples_metrics"].items():
        assert card["samples_metrics"][key] == pytest.approx(value, abs=1e-3)
    ours, theirs = (arrays(x / "sampler" / "inverter" / "weights.npz") for x in (place, FILES))
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_an_interrupted_classifier_is_resumed(place):
    flags = ("--input_size=63", "--steps=4", "--units=8", "--jitter=0.5", "--accumulate=2")
    flags += ("--min_crop=0.5", "--dtype=float32", "--workdir=classifier")
    finished = run("recipes/train_alexnet.py", *COMMON, *flags)
    assert finished.returncode == 0, finished.stderr
    assert "warning: --units is deprecated; use --hidden_units\n" in finished.stderr
    history, expected = (
        place / "classifier" / x for x in ("history.jsonl", "finished-history.jsonl")
    )
    np.testing.assert_allclose(losses(history), losses(expected), rtol=1e-4)
    saved = weights.read(place / "classifier" / "alexnet.safetensors")
    head = arrays(FILES / "classifier" / "finished-head.npz")
    for layer, stored in (
        ("fc6", "classifier.1"),
        ("fc7", "classifier.4"),
        ("fc8", "classifier.6"),
    ):
        kernel, bias = saved.layers[layer]
        np.testing.assert_allclose(kernel, head[f"{stored}.weight"].T, atol=1e-4)
        np.testing.assert_allclose(bias, head[f"{stored}.bias"], atol=1e-4)


def test_results_of_experiments_are_read_and_not_computed_again(place):
    result, facts = load_result(FILES / "analyses" / "interpolate")
    assert result.title and result.findings and result.rows
    assert [claim.holds for claim in result.claims] == [False]
    assert sorted(facts["inverters"]) == ["alexnet-conv5-64", "alexnet-fc6-64"]
    assert "conv5 over fc6 by +0.132" in claims_page({"AlexNet": FILES / "analyses"})
    before = (place / "analyses" / "units" / "results.json").read_bytes()
    flags = ("--inverters=alexnet-fc6-64", "--data=folder:photographs", "--workdir=analyses")
    finished = run("recipes/analyze.py", "--experiment=units", "--images=4", *flags)
    assert finished.returncode == 0, finished.stderr
    assert (place / "analyses" / "units" / "results.json").read_bytes() == before
    assert (place / "analyses" / "report.html").exists()


def test_old_flags_are_read_by_their_new_names():
    flags = read_flags(FILES / "interrupted")
    assert (flags["uncertainty"], flags["loss"]) == ("joint", "mse:2,mae")
    assert flags["weights_dtype"] == "float16" and flags["init_from"] == "start"
    assert not {"averaging", "spike", "jitter", "units", "accumulate", "samples"} & flags.keys()


def test_a_run_directory_of_old_flags_is_opened_with_the_new_ones(place):
    flags = read_flags(FILES / "interrupted")
    with open_run(place / "interrupted", flags):
        pass
    with (
        pytest.raises(tfinvert.InputError, match=r"ema_decay=0.5 \(was 0.9\)"),
        open_run(place / "interrupted", flags | {"ema_decay": 0.5}),
    ):
        pass
