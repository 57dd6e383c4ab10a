import hostile
import numpy as np


def test_hostile_requests_are_refused_and_the_process_lives(program, free_model, free_inverter):
    outcome = hostile.send(program, free_model, free_inverter, 200, seconds=30)
    assert not outcome.wrong
    assert outcome.refused.total() + outcome.answered.total() == 200
    assert min(outcome.refused.total(), outcome.answered.total()) > 20
    assert outcome.peak < outcome.before + 1.5


def test_hostile_requests_to_a_model_of_one_size(program, model, inverter):
    outcome = hostile.send(program, model, inverter, 100, seed=1, seconds=30)
    assert not outcome.wrong
    assert outcome.peak < outcome.before + 1.5


def test_a_wrong_answer_is_seen(free_inverter):
    refused = hostile.Request("bomb", "reconstruct_bytes", b"")
    assert hostile.complaint(refused, b"png", "") == "was not refused"
    assert "could not create" in hostile.complaint(refused, None, "could not create a primitive")
    array = hostile.Request("array", "invert", np.zeros(1), refused=False)
    assert hostile.complaint(array, np.float32([0, np.nan]).tobytes(), "") == "is not finite"
    assert hostile.complaint(array, np.float32([0, 1]).tobytes(), "") is None


def test_requests_are_drawn_from_the_seed(free_inverter):
    for number in (0, 7, 30, 300):
        first, again = (hostile.draw(3, number, free_inverter) for _ in range(2))
        assert first.kind == again.kind
        np.testing.assert_array_equal(first.value, again.value)
