"""Hostile requests are rejected, and the server survives them; see benchmarks/hostile.py."""

import hostile
import numpy as np
import pytest


@pytest.mark.slow
def test_hostile_requests_are_rejected(serve, any_size_model, any_size_inverter):
    with serve(any_size_model) as program:
        outcome = hostile.send(program, any_size_inverter, range(200), seconds=30)
    assert not outcome.wrong
    assert outcome.rejected.total() + outcome.answered.total() == 200
    assert min(outcome.rejected.total(), outcome.answered.total()) > 20
    assert outcome.peak < outcome.before + 1.5


@pytest.mark.slow
def test_hostile_requests_to_a_model_of_one_size(serve, model, inverter):
    with serve(model) as program:
        outcome = hostile.send(program, inverter, range(100), seed=1, seconds=30)
    assert not outcome.wrong
    assert outcome.peak < outcome.before + 1.5


def test_a_wrong_answer_is_found():
    bomb = hostile.Request("bomb", "reconstruct_bytes", b"")
    assert hostile.find_fault(bomb, b"png", "") == "was not rejected"
    assert "could not create" in hostile.find_fault(bomb, None, "could not create a primitive")
    array = hostile.Request("array", "invert", np.zeros(1), must_fail=False)
    assert hostile.find_fault(array, np.float32([0, np.nan]).tobytes(), "") == "is not finite"
    assert hostile.find_fault(array, np.float32([0, 1]).tobytes(), "") is None


def test_requests_are_determined_by_the_seed(any_size_inverter):
    for number in (0, 7, 30, 300):
        first, again = (hostile.make_request(3, number, any_size_inverter) for _ in range(2))
        assert first.kind == again.kind
        np.testing.assert_array_equal(first.value, again.value)
