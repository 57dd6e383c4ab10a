"""The training loop: runs that are interrupted, stopped or diverge."""

import json
import os
import re
import signal

import numpy as np
import pytest

import tfinvert
from tests.training.runs import (
    SETTINGS,
    Interrupted,
    interrupting,
    on_tiny_states_and_once_on_a_network,
)
from tfinvert.training.settings import Intervals


def test_an_interrupted_run_ends_as_an_unbroken_one(run, unbroken, tmp_path):
    with pytest.raises(Interrupted):
        run(wrap_step=interrupting(5))
    entries = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(entries[-1])["step"] == 5  # after the checkpoint of step 4
    unbroken.assert_equal(run())


def test_a_finished_run_trains_no_further(run, unbroken):
    before = run()
    again = run(wrap_step=interrupting(0))
    assert again.history == before.history
    for a, b in zip(before.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    unbroken.assert_equal(again)


SELDOM = Intervals(log=4, validate=100, checkpoint=4)


@pytest.fixture(scope="module")
def seldom_logged(run_in, tmp_path_factory):
    return run_in(tmp_path_factory.mktemp("seldom") / "run", intervals=SELDOM)


@on_tiny_states_and_once_on_a_network(
    ("number", "at"), [(signal.SIGTERM, 3), (signal.SIGINT, 4), (signal.SIGTERM, 6)]
)
def test_a_signal_ends_the_run_after_its_step_and_nothing_is_lost(run, seldom_logged, number, at):
    def signalling(step, _):
        calls = iter(range(1, 100))

        def signalled(*batch):
            if next(calls) == at:
                os.kill(os.getpid(), number)
            return step(*batch)

        return signalled

    handler = signal.getsignal(number)
    message = f"after step {at} of 6, which is saved; run the same command to resume"
    with pytest.raises(tfinvert.errors.Interrupted, match=message) as stopped:
        run(intervals=SELDOM, wrap_step=signalling)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) is handler
    seldom_logged.assert_equal(run(intervals=SELDOM))


def test_a_signal_during_the_last_validation(run, unbroken):
    def signalled(step):
        if step == SETTINGS.steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(tfinvert.errors.Interrupted, match="after step 6 of 6"):
        run(on_validate=signalled)
    unbroken.assert_equal(run())


def checkpoints(tmp_path):
    return {path.stem for path in (tmp_path / "run" / "checkpoints").glob("*.index")}


def test_nan_stops_with_the_last_good_checkpoint(run, tmp_path):
    def diverging(step, _):
        calls = iter(range(100))
        return lambda *batch: step(*batch) * (np.nan if next(calls) == 4 else 1.0)

    message = "the loss became nan by step 5; the last good checkpoint is .*step-4; try a lower --l"
    with pytest.raises(tfinvert.InputError, match=message) as error:
        run(intervals=Intervals(log=5, validate=100, checkpoint=2), wrap_step=diverging)
    assert "\n" not in str(error.value)
    assert checkpoints(tmp_path) == {"step-2", "step-4"}


def test_weights_that_are_not_finite_are_never_saved(run, tmp_path):
    def poisoning(step, state):
        weight = state.weight if hasattr(state, "weight") else state.network.weights[0]
        calls = iter(range(1, 100))

        def poisoned(*batch):
            loss = step(*batch)
            if next(calls) == 4:
                weight.assign(np.full(weight.shape, np.inf, np.float32))
            return loss

        return poisoned

    message = "a weight is not finite by step 4; .*step-2"
    with pytest.raises(tfinvert.InputError, match=message):
        run(wrap_step=poisoning)
    assert checkpoints(tmp_path) == {"step-2"}


def test_history_and_tensorboard_get_validations(unbroken):
    validated = [
        entry["step"] for entry in unbroken.history if any("validation" in name for name in entry)
    ]
    assert validated == [3, 6]
    assert all(entry["images_per_second"] > 0 for entry in unbroken.history)
    assert [*(unbroken.workdir / "summaries").iterdir()]
    lines = (unbroken.workdir / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == unbroken.history


@pytest.mark.parametrize("name", ["log", "validate", "checkpoint"])
def test_intervals_out_of_range(name):
    message = re.escape(f"--{name}_every must be positive. Received: 0")
    with pytest.raises(tfinvert.InputError, match=message):
        Intervals(**{name: 0})
