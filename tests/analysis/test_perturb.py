"""Perturbed features inverted: the numbers by hand, and the claims both ways."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import tfinvert
from tfinvert import metrics
from tfinvert.analysis import claims, perturbations
from tfinvert.analysis.experiments import perturb as module
from tfinvert.analysis.experiments.perturb import check, perturb
from tfinvert.analysis.inverters import AUTOENCODER, NETWORK
from tfinvert.analysis.perturbations import PerturbationLoss, add_noise, binarize, dropout

STRUCTURAL = (
    perturbations.BINARIZED,
    perturbations.DROPPED,
    perturbations.DROPPED_BINARIZED,
    perturbations.LARGEST_BINARIZED,
)


@pytest.fixture(scope="module")
def fc6():
    return tfinvert.load("alexnet-fc6-64")


@pytest.fixture(scope="module")
def result(fc6, photos):
    """fc6, and the same called an autoencoder."""
    twin = tfinvert.Inverter(fc6.feature, fc6.standardization, fc6.network, {"train_encoder": True})
    return perturb({"ours": fc6, "auto": twin}, photos, seed=7, repeats=2, levels=(0.5,))


def row(result, inverter, perturbation):
    (found,) = [
        row
        for row in result.rows
        if (row["inverter"], row["perturbation"]) == (inverter, perturbation)
    ]
    return found


def test_binarising_by_hand(result, fc6, photos):
    scale = metrics.mean_pairwise_distance(photos)
    features = fc6.encode(photos)
    plain = metrics.per_image_distance(photos, fc6.invert(features)) / scale
    binary = metrics.per_image_distance(photos, fc6.invert(binarize(features))) / scale
    mean = metrics.normalized_error(photos, np.broadcast_to(photos.mean(0), photos.shape), scale)
    found = row(result, "ours", perturbations.BINARIZED)
    assert found["layer"] == "fc6" and found["kind"] == NETWORK and found["draws"] == 1
    assert found["normalised error"] == pytest.approx(binary.mean(), rel=1e-4)
    assert found["rise"] == pytest.approx((binary - plain).mean(), abs=1e-5)
    deviation = np.std(binary - plain, ddof=1) / len(photos) ** 0.5
    assert found["standard error of the rise"] == pytest.approx(deviation, rel=1e-3)
    share = (binary.mean() - plain.mean()) / (mean - plain.mean())
    assert found["share lost"] == pytest.approx(share, rel=1e-3)
    assert found["standard error over draws"] is None
    assert f"{mean:.3f}" in result.lead


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (perturbations.DROPPED, dropout),
        ("noise 0.5", lambda features, rng: add_noise(features, rng, 0.5)),
    ],
)
def test_random_ones_are_means_over_draws(result, fc6, photos, name, change):
    features = fc6.encode(photos)
    errors = [
        metrics.normalized_error(
            photos, fc6.invert(change(features, np.random.default_rng([7, i])))
        )
        for i in range(2)
    ]
    found = row(result, "ours", name)
    assert found["draws"] == 2
    assert found["normalised error"] == pytest.approx(np.mean(errors), rel=1e-4)
    over = abs(errors[0] - errors[1]) / 2
    assert found["standard error over draws"] == pytest.approx(over, rel=1e-2)


def test_what_an_unperturbed_feature_loses_is_nothing(result):
    for name in ("ours", "auto"):
        assert row(result, name, perturbations.PLAIN)["share lost"] == 0.0


def test_twins_lose_the_same_so_that_autoencoders_are_not_more_sensitive(result):
    for name in STRUCTURAL:
        ours, auto = row(result, "ours", name), row(result, "auto", name)
        assert auto["kind"] == AUTOENCODER
        assert auto["share lost"] == pytest.approx(ours["share lost"])
    *_, last = result.claims
    assert "Autoencoders" in last.finding and not last.holds


def test_rows_and_figures(result, photos):
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


def held(outcomes):
    return [claim.holds for claim in claims.perturb(outcomes)]


def test_claims_of_fc6_and_fc7_both_ways():
    good = outcome("fc6", binarized=0.2, dropped=0.4, largest=0.25)
    assert held([good]) == [True, True, True]
    assert held([good, outcome("fc7", binarized=0.26, dropped=0.4, largest=0.25)]) == [
        False,
        True,
        True,
    ]
    assert held([good, outcome("fc7", binarized=0.2, dropped=0.2, largest=0.31)]) == [
        True,
        False,
        False,
    ]
    assert held([outcome("fire9", binarized=0.2, dropped=0.4, largest=0.25)]) == [True] * 3
    binarizing, _, smallest = claims.perturb([good])
    assert binarizing.value == "fc6 20.0% ± 0.0%" and smallest.value == "fc6 +5.0 ± 0.0 points"


def test_claim_of_autoencoders_both_ways():
    conv5 = outcome("conv5")
    assert held([conv5]) == []
    assert held([conv5, outcome("conv5", AUTOENCODER)]) == [False]
    (claim,) = claims.perturb([conv5, outcome("conv5", AUTOENCODER, both=0.35)])
    assert claim.holds and "conv5 (autoencoder) 16.2% ± 0.0%" in claim.value
    assert held([conv5, outcome("conv5", AUTOENCODER, both=0.25)]) == [False]
    assert held([conv5, outcome("conv4", AUTOENCODER)]) == []


def test_dropout_must_be_worse_beyond_noise():
    noisy = outcome("fc6", binarized=0.1, dropped=0.12)
    spread = np.random.default_rng(1).normal(size=50)
    noisy.rises[perturbations.DROPPED][:] += 0.1 * (spread - spread.mean())
    assert held([noisy])[1] is False


def test_features_that_give_nothing_test_nothing():
    assert claims.perturb([outcome("fc6", gain=-0.1)]) == []


def test_the_standard_error_of_a_share_is_that_of_a_ratio():
    rng = np.random.default_rng(2)
    gain = rng.uniform(0.1, 0.3, 4000)
    rise = 0.3 * gain + 0.02 * rng.normal(size=4000)
    share, error = PerturbationLoss("", "", "", gain, {"x": rise}).lost("x")
    picks = rng.integers(0, 4000, (400, 4000))
    bootstrap = rise[picks].mean(1) / gain[picks].mean(1)
    assert share == pytest.approx(0.3, abs=4 * error)
    assert error == pytest.approx(bootstrap.std(), rel=0.15)
    assert error < scipy.stats.sem(rise) / gain.mean()


def test_many_inverters_have_a_chart_for_each_kind():
    many = pd.DataFrame(
        [
            {"label": label, "kind": kind, "perturbation": each, "noise level": None}
            | {"share lost": 0.1, "standard error of the share": 0.01}
            for label, kind in [*((f"layer{i}", NETWORK) for i in range(13)), ("a", AUTOENCODER)]
            for each in STRUCTURAL
        ]
    )
    charts = module._charts(many)
    assert [chart.title.rpartition(", ")[2] for chart in charts] == [NETWORK, AUTOENCODER]
    assert "layer11" in charts[0].svg and "layer12" not in charts[0].svg
    assert len(module._charts(many[: 7 * len(STRUCTURAL)])) == 1


def test_too_few_images_for_the_feature_to_beat_their_mean(fc6, photos):
    result = perturb({"fc6": fc6}, photos[:2], repeats=1, levels=())
    assert {row["share lost"] for row in result.rows} == {None}
    assert "No feature gives anything" in result.findings[0] and result.claims == []
    assert len(result.figures) == 1


def test_what_is_refused(fc6, inverter, photos):
    probabilities = tfinvert.load("alexnet-probabilities-64")
    with pytest.raises(tfinvert.InputError, match="see the experiment probabilities"):
        check("p", probabilities)
    with pytest.raises(tfinvert.InputError, match="network's layers. Received: mine, of hog"):
        perturb({"mine": inverter}, photos)
    with pytest.raises(tfinvert.InputError, match="network's layers.*sift"):
        check("s", tfinvert.load("sift-64"))
    with pytest.raises(tfinvert.InputError, match="at least 1. Received: 0"):
        perturb({"fc6": fc6}, photos, repeats=0)
    with pytest.raises(tfinvert.InputError, match="all the same"):
        perturb({"fc6": fc6}, np.repeat(photos[:1], 3, 0))
