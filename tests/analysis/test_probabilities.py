"""Class scores taken away: known answers, an inverter's numbers by hand, the claim both ways."""

import numpy as np
import pytest
import scipy.special

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert import metrics
from tfinvert.analysis import claims, class_scores
from tfinvert.analysis.class_scores import (
    apply_temperature,
    apply_to_logits,
    equalize_rest,
    equalize_top,
    keep_top,
    remove_top,
)
from tfinvert.analysis.experiment import Measurement, make_table
from tfinvert.analysis.experiments.probabilities import EXPERIMENT

P = np.float32([[0.1, 0.5, 0.0, 0.4], [0.25, 0.25, 0.25, 0.25]])


@pytest.fixture(scope="module")
def images(photos):
    return photos[::5]


@pytest.fixture(scope="module")
def ours(load_shipped):
    return load_shipped("alexnet-probabilities-64")


def linear_logits():
    """An inverter of 200 logits that are projections of the image."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(64 * 64 * 3, 200)))[0]
    stub = stub_inverter(echo, "fc8", (200,))
    stub.feature.log_floor = 0.0
    stub.encode = lambda images: images.reshape(len(images), -1) @ basis
    stub.invert = lambda logits: (logits @ basis.T).reshape(-1, 64, 64, 3).astype(np.float32)
    return stub


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)])
def result(request, ours, load_shipped, images):
    """Of an inverter of probabilities, and of one of logits."""
    logits = load_shipped("alexnet-fc8-64") if request.param else linear_logits()
    inverters = {"p": ours, "z": logits}
    return EXPERIMENT.run(inverters, images, {"counts": (20, 5, 500), "temperatures": (1, 2)})


def row(result, inverter, variant, setting=None):
    (found,) = [
        row
        for row in result.rows
        if (row["inverter"], row["variant"]) == (inverter, variant)
        and setting in (row["top"], row["temperature"])
        and (row["top"] or row["temperature"]) == setting
    ]
    return found


def test_the_top_alone():
    np.testing.assert_allclose(keep_top(P, 2), [[0, 5 / 9, 0, 4 / 9], [0.5, 0.5, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(keep_top(P, 4), P, atol=1e-7)


def test_all_but_the_top():
    np.testing.assert_allclose(
        remove_top(P, 1), [[0.2, 0, 0, 0.8], [0, 1 / 3, 1 / 3, 1 / 3]], atol=1e-7
    )


def test_nothing_known_but_the_top_is_shared_evenly():
    np.testing.assert_allclose(
        remove_top(np.float32([[0, 1, 0, 0]]), 1), [[1 / 3, 0, 1 / 3, 1 / 3]]
    )


def test_evened_out():
    np.testing.assert_allclose(equalize_rest(P, 1)[0], [0.5 / 3, 0.5, 0.5 / 3, 0.5 / 3], atol=1e-7)
    np.testing.assert_allclose(equalize_top(P, 2)[0], [0.1, 0.45, 0.0, 0.45], atol=1e-7)
    np.testing.assert_allclose(equalize_top(P, 1), P, atol=1e-7)
    np.testing.assert_allclose(equalize_rest(P, 4), P, atol=1e-7)


def test_temperatures():
    np.testing.assert_allclose(apply_temperature(P, 1.0), P, atol=1e-7)
    squares = np.square(P[0]) / np.square(P[0]).sum()
    np.testing.assert_allclose(apply_temperature(P, 0.5)[0], squares, atol=1e-7)
    np.testing.assert_allclose(apply_temperature(P, 1e9)[1], P[1])


@pytest.mark.parametrize(
    "change", [keep_top, remove_top, equalize_rest, equalize_top, apply_temperature]
)
def test_the_sum_stays_one_and_the_argument_as_it_was(change):
    given = scipy.special.softmax(np.random.default_rng(0).normal(size=(9, 40)), 1)
    before = given.copy()
    np.testing.assert_allclose(change(given, 5).sum(1), 1.0)
    np.testing.assert_array_equal(given, before)


def test_logits_come_back():
    logits = np.random.default_rng(1).normal(0, 9, (5, 30)).astype(np.float32)
    np.testing.assert_allclose(apply_to_logits(lambda p: p, logits), logits, atol=1e-4)
    tempered = apply_to_logits(lambda p: apply_temperature(p, 2.0), logits)
    halved = logits / 2
    np.testing.assert_allclose(
        scipy.special.softmax(tempered, 1), scipy.special.softmax(halved, 1), atol=1e-6
    )
    np.testing.assert_allclose(
        scipy.special.logsumexp(tempered, 1), scipy.special.logsumexp(logits, 1), rtol=1e-6
    )


def test_a_zero_is_the_smallest_logit():
    changed = apply_to_logits(lambda p: keep_top(p, 1), np.float32([[1, 3, -2]]))
    total = scipy.special.logsumexp([1, 3, -2])
    np.testing.assert_allclose(changed, [[-2, total, -2]], atol=1e-6)


def test_numbers_by_hand(result, ours, images):
    scale = metrics.mean_pairwise_distance(images)
    features = ours.encode(images)
    everything = ours.invert(features)
    without = features.copy()
    for p in without:
        p[np.argsort(p)[-5:]] = 0.0
        p /= p.sum()
    rebuilt = ours.invert(without)
    distance = metrics.per_image_distance(everything, rebuilt) / scale
    found = row(result, "p", class_scores.TOP_REMOVED, 5)
    assert found["distance_to_all"] == pytest.approx(distance.mean(), rel=1e-3)
    deviation = np.std(distance, ddof=1) / len(images) ** 0.5
    assert found["distance_to_all_se"] == pytest.approx(deviation, rel=1e-3)
    error = metrics.normalized_error(images, rebuilt)
    assert found["normalized_error"] == pytest.approx(error, rel=1e-3)
    own = row(result, "p", class_scores.ALL)
    assert own["distance_to_all"] == 0
    error = metrics.normalized_error(images, everything)
    assert own["normalized_error"] == pytest.approx(error, rel=1e-4)


def test_the_temperature_one_changes_nothing(result):
    for name in ("p", "z"):
        assert row(result, name, class_scores.TEMPERED, 1)["distance_to_all"] < 1e-5
        assert row(result, name, class_scores.TEMPERED, 2)["distance_to_all"] > 0.01


def test_evening_out_the_top_changes_less_than_zeroing_it(result):
    for name in ("p", "z"):
        evened = row(result, name, class_scores.TOP_EQUALIZED, 5)["distance_to_all"]
        assert evened < row(result, name, class_scores.TOP_REMOVED, 5)["distance_to_all"]
        assert any(f"{evened:.3f}" in finding for finding in result.findings)


def test_rows_figures_and_claims(result):
    assert len(result.rows) == 2 * (1 + 4 * 2 + 2)  # 500 classes there are not
    assert len({tuple(row) for row in result.rows}) == 1
    assert all(type(value) in (str, int, float, type(None)) for value in result.rows[1].values())
    assert len(result.figures) == 4
    assert "all but the top 5 evened out" in result.figures[1].svg
    pairs = (
        (class_scores.TOP_ONLY, class_scores.TOP_REMOVED),
        (class_scores.REST_EQUALIZED, class_scores.TOP_EQUALIZED),
    )
    for claim, variants in zip(result.claims, pairs, strict=True):
        small, top = (row(result, "p", x, 5)["distance_to_all"] for x in variants)
        assert claim.value.startswith(f"p nearer by {small - top:+.3f}")
        assert "z nearer" not in claim.value  # which is of logits


def distances(kept, removed):
    return {
        (name, 5): np.asarray(value)
        for name, value in (
            (class_scores.TOP_ONLY, kept),
            (class_scores.TOP_REMOVED, removed),
            (class_scores.REST_EQUALIZED, removed),
            (class_scores.TOP_EQUALIZED, kept),
        )
    }


def judge(own):
    facts = {"probability_inverters": list(own)}
    return claims.probabilities(Measurement(make_table([]), {"distances": own}, facts))


def test_the_claim_both_ways():
    spread = np.random.default_rng(0).normal(0, 0.1, 100)
    zeroed, evened = judge({"p": distances(0.5 + spread, 0.3 + spread)})
    assert zeroed.holds and "+0.200" in zeroed.value
    assert not evened.holds and "-0.200" in evened.value
    zeroed, evened = judge({"p": distances(0.3 + spread, 0.5 + spread)})
    assert evened.holds and not zeroed.holds
    barely = spread - spread.mean() + spread.std(ddof=1) / 10 * 1.9
    close = {"p": distances(0.3 + barely, np.full(100, 0.3))}
    assert not judge(close)[0].holds
    assert judge({"p": {}}) == judge({}) == []


def test_what_is_refused(ours, fc6, inverter, photos):
    with pytest.raises(tfinvert.InputError, match="fc8 or logits. Received: mine, .* of hog"):
        EXPERIMENT.run({"mine": inverter}, photos)
    with pytest.raises(tfinvert.InputError, match="Received: a, .* of alexnet/fc6"):
        EXPERIMENT.check("a", fc6)
    coded = tfinvert.Inverter(
        ours.feature, ours.standardization, ours.network, {"train_encoder": 1}
    )
    with pytest.raises(tfinvert.InputError, match="Received: b, autoencoder"):
        EXPERIMENT.check("b", coded)
    with pytest.raises(tfinvert.InputError, match="below the 200 classes"):
        EXPERIMENT.run({"p": ours}, photos, {"counts": (200, 500)})
    with pytest.raises(tfinvert.InputError, match="must be positive"):
        EXPERIMENT.run({"p": ours}, photos, {"temperatures": (0.0,)})
