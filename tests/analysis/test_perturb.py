"""Perturbed features inverted: the numbers by hand, and the claims both ways."""

import types

import numpy as np
import pytest
import scipy.stats

import tfinvert
from tfinvert import metrics
from tfinvert.analysis import claims, perturbations
from tfinvert.analysis.experiment import Measurement, make_table
from tfinvert.analysis.experiments import perturb
from tfinvert.analysis.inverters import AUTOENCODER, NETWORK
from tfinvert.analysis.perturbations import (
    STRUCTURAL,
    PerturbationLoss,
    add_noise,
    binarize,
    dropout,
)

EXPERIMENT = perturb.EXPERIMENT


@pytest.fixture(scope="module")
def images(photos):
    return photos[::3]


@pytest.fixture(scope="module")
def result(fc6, images):
    """fc6, and the same called an autoencoder."""
    twin = types.SimpleNamespace(
        feature=fc6.feature, card={"train_encoder": True}, encode=fc6.encode, invert=fc6.invert
    )
    return EXPERIMENT.run(
        {"ours": fc6, "auto": twin}, images, {"seed": 7, "repeats": 2, "levels": (0.5,)}
    )


def row(result, inverter, perturbation):
    (found,) = [
        row
        for row in result.rows
        if (row["inverter"], row["perturbation"]) == (inverter, perturbation)
    ]
    return found


def test_binarising_by_hand(result, fc6, images):
    scale = metrics.mean_pairwise_distance(images)
    features = fc6.encode(images)
    plain = metrics.per_image_distance(images, fc6.invert(features)) / scale
    binary = metrics.per_image_distance(images, fc6.invert(binarize(features))) / scale
    mean = metrics.normalized_error(images, np.broadcast_to(images.mean(0), images.shape), scale)
    found = row(result, "ours", perturbations.BINARIZED)
    assert found["layer"] == "fc6" and found["kind"] == NETWORK and found["draws"] == 1
    assert found["normalized_error"] == pytest.approx(binary.mean(), rel=1e-4)
    assert found["error_rise"] == pytest.approx((binary - plain).mean(), abs=1e-5)
    deviation = np.std(binary - plain, ddof=1) / len(images) ** 0.5
    assert found["error_rise_se"] == pytest.approx(deviation, rel=1e-3)
    share = (binary.mean() - plain.mean()) / (mean - plain.mean())
    assert found["share_lost"] == pytest.approx(share, rel=1e-3)
    assert found["draws_se"] is None
    assert f"{mean:.3f}" in result.lead


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (perturbations.DROPPED, dropout),
        ("noise 0.5", lambda features, rng: add_noise(features, rng, 0.5)),
    ],
)
def test_random_ones_are_means_over_draws(result, fc6, images, name, change):
    features = fc6.encode(images)
    errors = [
        metrics.normalized_error(
            images, fc6.invert(change(features, np.random.default_rng([7, i])))
        )
        for i in range(2)
    ]
    found = row(result, "ours", name)
    assert found["draws"] == 2
    assert found["normalized_error"] == pytest.approx(np.mean(errors), rel=1e-4)
    over = abs(errors[0] - errors[1]) / 2
    assert found["draws_se"] == pytest.approx(over, rel=1e-2)


def test_what_an_unperturbed_feature_loses_is_nothing(result):
    for name in ("ours", "auto"):
        assert row(result, name, perturbations.PLAIN)["share_lost"] == 0.0


def test_twins_lose_the_same_so_that_autoencoders_are_not_more_sensitive(result):
    for name in STRUCTURAL:
        ours, auto = row(result, "ours", name), row(result, "auto", name)
        assert auto["kind"] == AUTOENCODER
        assert auto["share_lost"] == pytest.approx(ours["share_lost"])
    *_, last = result.claims
    assert "Autoencoders" in last.finding and not last.holds


def test_rows_and_figures(result):
    assert len(result.rows) == 2 * 6 and len({tuple(row) for row in result.rows}) == 1
    assert all(type(value) in (str, int, float, type(None)) for value in result.rows[1].values())
    titles = [figure.title for figure in result.figures]
    assert titles[2:] == [
        "Rebuilt from perturbed features: fc6",
        "Rebuilt from perturbed features: fc6 (autoencoder)",
    ]
    assert all("fc6 (autoencoder)" in finding for finding in result.findings)


def outcome(layer, kind=NETWORK, gain=0.2, **lost):
    """Of 50 images that all lose those shares of the gain; the perturbations not named, a tenth."""
    label = layer if kind == NETWORK else f"{layer} ({kind})"
    named = dict(zip(("binarized", "dropped", "both", "largest"), STRUCTURAL, strict=True))
    shares = dict.fromkeys(STRUCTURAL, 0.1) | {named[key]: share for key, share in lost.items()}
    jitter = 1e-3 * np.random.default_rng(0).normal(size=(50, 1)) * [1, 0]
    gains = gain + jitter[:, 0]
    return PerturbationLoss(
        label, layer, kind, gains, {key: s * gains for key, s in shares.items()}
    )


def judge(outcomes):
    return claims.perturb(Measurement(make_table([]), {"losses": outcomes}))


def verdicts(outcomes):
    return [claim.holds for claim in judge(outcomes)]


def test_claims_of_fc6_and_fc7_both_ways():
    good = outcome("fc6", binarized=0.2, dropped=0.4, largest=0.25)
    assert verdicts([good]) == [True, True, True]
    assert verdicts([good, outcome("fc7", binarized=0.26, dropped=0.4, largest=0.25)]) == [
        False,
        True,
        True,
    ]
    assert verdicts([good, outcome("fc7", binarized=0.2, dropped=0.2, largest=0.31)]) == [
        True,
        False,
        False,
    ]
    assert verdicts([outcome("fire9", binarized=0.2, dropped=0.4, largest=0.25)]) == [True] * 3
    binarizing, _, smallest = judge([good])
    assert binarizing.value == "fc6 20.0% ± 0.0%" and smallest.value == "fc6 +5.0 ± 0.0 points"


def test_claim_of_autoencoders_both_ways():
    conv5 = outcome("conv5")
    assert verdicts([conv5]) == []
    assert verdicts([conv5, outcome("conv5", AUTOENCODER)]) == [False]
    (claim,) = judge([conv5, outcome("conv5", AUTOENCODER, both=0.35)])
    assert claim.holds and "conv5 (autoencoder) 16.2% ± 0.0%" in claim.value
    assert verdicts([conv5, outcome("conv5", AUTOENCODER, both=0.25)]) == [False]
    assert verdicts([conv5, outcome("conv4", AUTOENCODER)]) == []


def test_dropout_must_be_worse_beyond_noise():
    noisy = outcome("fc6", binarized=0.1, dropped=0.12)
    spread = np.random.default_rng(1).normal(size=50)
    noisy.rises[perturbations.DROPPED][:] += 0.1 * (spread - spread.mean())
    assert verdicts([noisy])[1] is False


def test_features_that_give_nothing_test_nothing():
    assert judge([outcome("fc6", gain=-0.1)]) == []


def test_the_standard_error_of_a_share_is_that_of_a_ratio():
    rng = np.random.default_rng(2)
    gain = rng.uniform(0.1, 0.3, 4000)
    rise = 0.3 * gain + 0.02 * rng.normal(size=4000)
    share, error = PerturbationLoss("", "", "", gain, {"x": rise}).share_lost("x")
    picks = rng.integers(0, 4000, (400, 4000))
    bootstrap = rise[picks].mean(1) / gain[picks].mean(1)
    assert share == pytest.approx(0.3, abs=4 * error)
    assert error == pytest.approx(bootstrap.std(), rel=0.15)
    assert error < scipy.stats.sem(rise) / gain.mean()


def test_many_inverters_have_a_chart_for_each_kind():
    layers = [*((f"layer{i}", NETWORK) for i in range(13)), ("a", AUTOENCODER)]
    columns = {"noise_level": None, "share_lost": 0.1, "share_lost_se": 0.01}
    rows = [
        {"label": label, "kind": kind, "perturbation": each} | columns
        for label, kind in layers
        for each in STRUCTURAL
    ]

    def draw(rows):
        facts = {"images": 2, "size": (8, 8), "repeats": 1, "levels": (), "mean_image_error": 0.5}
        return perturb.present(Measurement(make_table(rows), {"pictures": {}}, facts)).figures

    charts = draw(rows)
    assert [chart.title.rpartition(", ")[2] for chart in charts] == [NETWORK, AUTOENCODER]
    assert "layer11" in charts[0].svg and "layer12" not in charts[0].svg
    assert len(draw(rows[: 7 * len(STRUCTURAL)])) == 1


def test_too_few_images_for_the_feature_to_beat_their_mean(fc6, photos):
    result = EXPERIMENT.run({"fc6": fc6}, photos[:2], {"repeats": 1, "levels": ()})
    assert {row["share_lost"] for row in result.rows} == {None}
    assert "No reconstruction is better" in result.findings[0] and result.claims == []
    assert len(result.figures) == 1


def test_what_is_refused(fc6, load_shipped, inverter, photos):
    probabilities = load_shipped("alexnet-probabilities-64")
    with pytest.raises(tfinvert.InputError, match="see the experiment probabilities"):
        EXPERIMENT.check("p", probabilities)
    with pytest.raises(tfinvert.InputError, match="network layers. Received: mine, of hog"):
        EXPERIMENT.run({"mine": inverter}, photos)
    with pytest.raises(tfinvert.InputError, match="network layers.*sift"):
        EXPERIMENT.check("s", load_shipped("sift-64"))
    with pytest.raises(tfinvert.InputError, match="at least 1. Received: 0"):
        EXPERIMENT.run({"fc6": fc6}, photos, {"repeats": 0})
    with pytest.raises(tfinvert.InputError, match="images are identical"):
        EXPERIMENT.run({"fc6": fc6}, np.repeat(photos[:1], 3, 0))
