"""Ways to store descriptors, each by hand, and what the shipped inverters make of them."""

import numpy as np
import pytest

import tfinvert
from tfinvert import metrics
from tfinvert.analysis import compression
from tfinvert.analysis.keypoints import keep_keypoints
from tfinvert.analysis.privacy import NOTHING, privacy
from tfinvert.features.sift import occupied_cells
from tfinvert.metrics import lpips


@pytest.fixture(scope="module")
def vectors():
    """Of units with means and deviations of their own, most entries zero: `[40, 30]`."""
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(-0.5, 1, (40, 30)) * rng.uniform(1, 4, 30), 0).astype(np.float32)


@pytest.fixture(scope="module")
def inverters():
    return {name: tfinvert.load(name) for name in ("hog-64", "sift-64", "alexnet-fc7-64")}


@pytest.fixture(scope="module")
def result(inverters, photos):
    return privacy(inverters, photos)


@pytest.mark.parametrize("bits", [8, 4])
def test_bits_are_even_steps_over_the_range_of_other_vectors(vectors, bits):
    reference = vectors[:20]
    restored, size = compression.make_quantizer(reference, bits)(vectors)
    assert size == bits * 30 / 8
    levels = np.linspace(reference.min(), reference.max(), 2**bits)
    nearest = np.abs(vectors[..., np.newaxis] - levels).argmin(-1)
    np.testing.assert_allclose(restored, levels[nearest], atol=1e-4)


def test_one_bit_comes_back_as_one_of_two_means_of_its_unit(vectors):
    reference = vectors[:20]
    restored, size = compression.make_quantizer(reference, 1)(vectors)
    assert size == 30 / 8
    for unit in range(30):
        known, middle = reference[:, unit], reference[:, unit].mean()
        means = known[known <= middle].mean(), known[known > middle].mean()
        expected = np.where(vectors[:, unit] > middle, means[1], means[0])
        np.testing.assert_allclose(restored[:, unit], expected, rtol=1e-5)


def test_components_are_those_of_the_singular_value_decomposition(vectors):
    reference = vectors[:20].astype(np.float64)
    restored, size = compression.make_pca_projection(vectors[:20], 6)(vectors)
    assert size == 24
    _, _, rows = np.linalg.svd(reference - reference.mean(0))
    expected = (vectors - reference.mean(0)) @ rows[:6].T @ rows[:6] + reference.mean(0)
    np.testing.assert_allclose(restored, expected, atol=1e-4)


def test_a_store_of_keypoints_holds_so_many(photos):
    grids = tfinvert.features.get("sift")(photos).numpy()
    stores = compression.compression_methods(grids, sparse=True)
    restored, size = stores["10 keypoints"](grids)
    before, after = (occupied_cells(each).sum((1, 2)) for each in (grids, restored))
    np.testing.assert_array_equal(after, np.minimum(before, 10))
    assert size == pytest.approx(after.mean() * 144)
    np.testing.assert_array_equal(
        restored[occupied_cells(restored)], grids[occupied_cells(restored)]
    )


def test_a_store_is_only_offered_where_it_reduces(vectors, photos):
    assert [*compression.compression_methods(vectors[:20], sparse=False)] == [
        *("as it is", "8 bits", "4 bits", "1 bit"),
        "16 components",
    ]
    few = keep_keypoints(tfinvert.features.get("sift")(photos).numpy(), 4, np.random.default_rng(0))
    assert [*compression.compression_methods(few, sparse=True)] == ["as it is"]


def test_the_more_is_stored_the_more_comes_back(result):
    rows = {(row["inverter"], row["stored"]): row for row in result.rows}
    for name in ("hog-64", "sift-64", "alexnet-fc7-64"):
        whole, nothing = rows[name, "as it is"], rows[name, NOTHING]
        assert whole["normalised error"] < nothing["normalised error"]
        assert whole["bytes an image"] > nothing["bytes an image"] == 0
        assert 0 <= nothing["named as the photograph"] <= whole["named as the photograph"] <= 1
    assert rows["hog-64", "as it is"]["LPIPS"] < rows["hog-64", NOTHING]["LPIPS"] - 0.1
    errors = [rows["hog-64", each]["normalised error"] for each in ("8 bits", "4 bits", "1 bit")]
    assert errors[0] == pytest.approx(rows["hog-64", "as it is"]["normalised error"], abs=0.003)
    assert errors == sorted(errors)
    assert len(result.figures) == 5


def test_a_row_is_what_the_classifier_and_the_metrics_say(result, inverters, photos):
    stored, inverter = photos[::2], inverters["hog-64"]
    rebuilt = inverter.reconstruct(stored)
    row = next(row for row in result.rows if row["inverter"] == "hog-64")
    assert row["normalised error"] == pytest.approx(
        metrics.normalized_error(stored, rebuilt, metrics.mean_pairwise_distance(stored)), rel=1e-4
    )
    assert row["LPIPS"] == pytest.approx(lpips.lpips(stored, rebuilt), rel=1e-4)
    classifier = tfinvert.features.get("squeezenet/logits")
    named = [np.argmax(classifier(each), 1) for each in (stored, rebuilt)]
    assert row["named as the photograph"] == pytest.approx(np.mean(named[0] == named[1]))


def test_what_cannot_be_measured_is_refused(inverters, photos):
    with pytest.raises(tfinvert.InputError, match="at least 8 images. Received: 7"):
        privacy(inverters, photos[:7])
