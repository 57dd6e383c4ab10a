"""A run that was interrupted, stopped or given a start ends as one that nothing happened to."""

import json
import os
import signal

import numpy as np
import pytest

import tfinvert
from tests.training.runs import (
    DEFAULTS,
    SETTINGS,
    Interrupted,
    Unbroken,
    interrupt_after,
    losses,
)
from tfinvert.networks import residual
from tfinvert.training import train_inverter
from tfinvert.training.train_inverter import Intervals


def test_an_interrupted_run_ends_as_an_unbroken_one(train, train_in, tmp_path, monkeypatch):
    monkeypatch.setattr(residual, "BLOCKS", 2)  # to trace, which is most of the time here
    whole = Unbroken(train_in, tmp_path / "whole", settings=DEFAULTS)
    with monkeypatch.context() as patch:
        interrupt_after(patch, train_inverter, 5)
        with pytest.raises(Interrupted):
            train(DEFAULTS)
    entries = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(entries[-1])["step"] == 5  # after the checkpoint of step 4
    whole.assert_equal(*train(DEFAULTS))


def test_a_run_begins_with_the_weights_it_is_given_and_resumes_with_its_own(
    train, train_in, unbroken, tmp_path, monkeypatch
):
    start = unbroken.inverter
    whole = Unbroken(train_in, tmp_path / "whole", start=start)
    begun = []
    with monkeypatch.context() as patch:
        interrupt_after(patch, train_inverter, 4)
        limited = train_inverter.make_train_step

        def make_step(state, *arguments):
            begun[:] = state.network.get_weights(), state.averaged.get_weights()
            return limited(state, *arguments)

        patch.setattr(train_inverter, "make_train_step", make_step)
        with pytest.raises(Interrupted):
            train(start=start)
    for weights in begun:
        for a, b in zip(weights, start.network.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    for name in ("mean", "scale"):
        a, b = (getattr(each.standardization, name) for each in (whole.inverter, start))
        np.testing.assert_array_equal(a, b)
    whole.assert_equal(*train(start=start))
    assert losses(whole.history)[0] < losses(unbroken.history)[0]


SELDOM = Intervals(log=4, validate=100, checkpoint=4)


@pytest.fixture(scope="module")
def seldom_logged(train_in, tmp_path_factory):
    return Unbroken(train_in, tmp_path_factory.mktemp("seldom") / "run", pace=SELDOM)


@pytest.mark.parametrize(
    ("number", "at"),
    [(signal.SIGTERM, 3), (signal.SIGINT, 4), (signal.SIGTERM, 6)],
)
def test_a_signal_ends_the_run_after_its_step_and_nothing_is_lost(
    train, seldom_logged, monkeypatch, number, at
):
    made = train_inverter.make_train_step

    def make_step(state, *arguments):
        step = made(state, *arguments)

        def signalled(*batch):
            if state.optimizer.iterations == at - 1:
                os.kill(os.getpid(), number)
            return step(*batch)

        return signalled

    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(train_inverter, "make_train_step", make_step)
        with pytest.raises(tfinvert.errors.Interrupted, match=f"after step {at} of 6") as stopped:
            train(pace=SELDOM)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) is handler
    seldom_logged.assert_equal(*train(pace=SELDOM))


def test_a_signal_while_the_last_step_is_validated(train, unbroken, monkeypatch):
    validate = train_inverter._validate

    def signalled(*arguments):
        if arguments[-1] == SETTINGS.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train_inverter, "_validate", signalled)
        with pytest.raises(tfinvert.errors.Interrupted, match="after step 6 of 6"):
            train()
    unbroken.assert_equal(*train())
