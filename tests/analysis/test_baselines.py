"""Fitted baselines, against independent implementations and on data of known structure."""

import pickle

import numpy as np
import pytest
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import Ridge

from tfinvert import InputError, features, metrics
from tfinvert.analysis.baselines import (
    CellRidge,
    MeanImage,
    NearestNeighbor,
    PairedDictionary,
)
from tfinvert.analysis.baselines.paired_dictionary import sample_pairs
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization

IDENTITY = Standardization(np.float32(0), np.float32(1))


def random_feature(*shape, image_shape=(8, 8, 3)):
    """A feature that is never computed; tests draw its values."""
    return HostFeature(np.asarray, shape, name="random", image_shape=image_shape)


def examples(count, feature, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, *feature.spec.shape)).astype(np.float32)
    return values, rng.random((count, *feature.image_shape)).astype(np.float32)


def every_baseline(feature, standardization=IDENTITY):
    return [
        MeanImage(feature),
        CellRidge(feature, standardization),
        NearestNeighbor(feature, standardization),
        PairedDictionary(feature, standardization, window=2, atoms=4),
    ]


def baseline_name(baseline):
    return baseline.name


EVERY = every_baseline(random_feature(4, 2, 5))


def assert_images(found, images, expected):
    """Checks that found images are the given ones of different images, rounded to 8 bits."""
    distances = np.square(found[:, np.newaxis] - images).mean((2, 3, 4))
    np.testing.assert_array_equal(distances.argmin(1), expected)
    np.testing.assert_allclose(found, images[expected], atol=0.5 / 255 + 1e-6)


@pytest.fixture(scope="module")
def hog(photos):
    """(feature, standardisation, features of the photographs)."""
    feature = features.get("hog", image_shape=(64, 64, 3))
    values = feature(photos).numpy()
    return feature, Standardization.measure(feature, [values]), values


def test_mean_image():
    feature = random_feature(3)
    values, images = examples(7, feature)
    mean = MeanImage(feature).fit([(values[:2], images[:2]), (values[2:], images[2:])])
    expected = np.broadcast_to(images.mean(0), (4, 8, 8, 3))
    np.testing.assert_allclose(mean.invert(values[:4]), expected, rtol=1e-6)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_cell_ridge_equals_ridge_of_scikit_learn(radius):
    feature = random_feature(4, 2, 5)  # cells of 2×4 pixels
    values, images = examples(90, feature)
    measured = Standardization.measure(feature, [3 * values + 1])
    own = CellRidge(feature, measured, radius=radius, penalty=0.03)
    own.fit([(3 * values[:70] + 1, images[:70]), (3 * values[70:80] + 1, images[70:80])])

    def neighbourhoods(values):
        rows = []
        for value in values:
            for row in range(4):
                for column in range(2):
                    for y in range(row - radius, row + radius + 1):
                        for x in range(column - radius, column + radius + 1):
                            inside = 0 <= y < 4 and 0 <= x < 2
                            rows.append(value[y, x] if inside else np.zeros(5))
        return np.reshape(rows, (len(values) * 8, -1))

    def cells(images):
        return np.reshape(
            [
                image[2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
                for image in images
                for row in range(4)
                for column in range(2)
            ],
            (len(images) * 8, -1),
        )

    values = measured(3 * values + 1).astype(np.float64)
    inputs = neighbourhoods(values[:80])
    penalty = 0.03 * np.square(inputs).sum(0).mean()
    expected = Ridge(penalty).fit(inputs, cells(images[:80])).predict(neighbourhoods(values[80:]))
    got = cells(own.invert(3 * examples(90, feature)[0][80:] + 1))
    np.testing.assert_allclose(got, np.clip(expected, 0, 1), atol=1e-5)


def test_cell_ridge_finds_a_linear_map():
    feature = random_feature(4, 4, 12)
    values, images = examples(40, feature)
    values = images.reshape(-1, 4, 2, 4, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, 12)
    ridge = CellRidge(feature, IDENTITY, penalty=1e-9).fit([(values[:30], images[:30])])
    np.testing.assert_allclose(ridge.invert(values[30:]), images[30:], atol=1e-4)


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_nearest_neighbor_equals_a_loop(batch):
    feature = random_feature(3, 4)
    values, images = examples(100, feature)
    queries = examples(20, feature, seed=1)[0]
    standardization = Standardization(np.arange(4, dtype=np.float32), np.float32([1, 9, 0.1, 2]))
    nearest = NearestNeighbor(feature, standardization)
    nearest.fit((values[i : i + batch], images[i : i + batch]) for i in range(0, 100, batch))
    expected = [
        min(range(100), key=lambda i, q=q: np.sum(((values[i] - q) / [1, 9, 0.1, 2]) ** 2))
        for q in queries.astype(np.float64)
    ]
    assert_images(nearest.invert(queries), images, expected)


def test_nearest_neighbor_returns_the_image_of_a_training_feature():
    feature = random_feature(500)
    values, images = examples(30, feature)
    values = 100 + 1e-1 * values  # far from zero, where |a|² + |b|² - 2ab loses their differences
    nearest = NearestNeighbor(feature, IDENTITY).fit([(values, images)])
    assert_images(nearest.invert(values), images, np.arange(30))


def test_nearest_neighbor_returns_the_first_of_equally_near_images():
    feature = random_feature(50)
    values, images = np.tile(examples(9, feature)[0], (3, 1)), examples(27, feature)[1]
    nearest = NearestNeighbor(feature, IDENTITY).fit([(values, images)])
    assert_images(nearest.invert(values[9:]), images, np.tile(np.arange(9), 2))


def test_nearest_neighbor_distinguishes_values_too_large_for_float16():
    feature = random_feature(2)
    values = np.float32([[1e6, 0], [-1e6, 0], [0, 1e30]])
    images = examples(3, feature)[1]
    nearest = NearestNeighbor(feature, IDENTITY).fit([(values, images)])
    assert_images(nearest.invert(values), images, [0, 1, 2])


def test_nearest_neighbor_stores_two_bytes_a_value_and_one_a_color():
    feature = random_feature(16, 16, 133, image_shape=(64, 64, 3))
    few, many = (
        len(pickle.dumps(NearestNeighbor(feature, IDENTITY).fit([examples(count, feature)])))
        for count in (3, 13)
    )
    size = 2 * 16 * 16 * 133 + 64 * 64 * 3
    assert 10 * size <= many - few < 1.01 * 10 * size


@pytest.fixture(scope="module", params=[300, pytest.param(400, marks=pytest.mark.slow)])
def sparse(request):
    """Features and images of cells that each combine two of 24 pairs (12 values, 48 colours)."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(24, 12 + 48))
    pairs[:, :12] /= np.linalg.norm(pairs[:, :12], axis=1, keepdims=True)
    count = request.param
    cells = count * 16
    codes = np.zeros((cells, 24))
    for code in codes:
        code[rng.choice(24, 2, replace=False)] = rng.uniform(0.5, 1.5, 2)
    joint = codes @ pairs
    values = joint[:, :12].reshape(count, 4, 4, 12)
    images = (0.5 + 0.04 * joint[:, 12:]).reshape(count, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    return values.astype(np.float32), images.reshape(count, 16, 16, 3).astype(np.float32)


def test_paired_dictionary_beats_linear_maps_on_sparse_data(sparse):
    # 24 atoms in 12 dimensions: features determine the pixels only because codes are sparse.
    values, images = sparse
    feature = random_feature(4, 4, 12, image_shape=(16, 16, 3))
    settings = {"window": 1, "stride": 1, "atoms": 24, "learning_penalty": 0.1, "penalty": 0.01}
    pairs = PairedDictionary(feature, IDENTITY, **settings).fit([(values[:-50], images[:-50])])
    ridge = CellRidge(feature, IDENTITY, radius=0).fit([(values[:-50], images[:-50])])
    mean = MeanImage(feature).fit([(values[:-50], images[:-50])])
    errors = [
        np.square(baseline.invert(values[-50:]) - images[-50:]).mean()
        for baseline in (pairs, ridge, mean)
    ]
    assert errors[0] < 0.5 * errors[1]
    assert errors[1] < 0.8 * errors[2]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_paired_dictionary_averages_overlapping_windows(stride):
    feature = random_feature(4, 5, 3, image_shape=(8, 5, 3))  # cells of 2×1 pixels
    values, images = examples(60, feature)
    pairs = PairedDictionary(feature, IDENTITY, window=2, stride=stride, atoms=20, samples=500)
    pairs.fit([(values, images)])
    total, count = np.zeros((8, 5, 3)), np.zeros((8, 5, 1))
    for row in (0, 1, 2) if stride == 1 else (0, 2):
        for column in (0, 1, 2, 3) if stride == 1 else (0, 2, 3):
            window = values[7, row : row + 2, column : column + 2].reshape(1, 12)
            window /= pairs.feature_scale
            code = sparse_encode(window, pairs.feature_atoms, algorithm="lasso_lars", alpha=0.1)
            pixels = (code @ pairs.pixel_atoms + pairs.mean_pixels).reshape(4, 2, 3)
            total[2 * row : 2 * row + 4, column : column + 2] += pixels
            count[2 * row : 2 * row + 4, column : column + 2] += 1
    assert count.min() > 0
    np.testing.assert_allclose(
        pairs.invert(values[7:8])[0], np.clip(total / count, 0, 1), atol=1e-3
    )


def test_sampled_windows_are_uniform_and_paired():
    numbers = np.arange(2000 * 6, dtype=np.float32).reshape(2000, 2, 3, 1)
    pixels = np.repeat(numbers / 12000, 3, -1)
    batches = ((numbers[i : i + 50], pixels[i : i + 50]) for i in range(0, 2000, 50))
    values, found = sample_pairs(batches, 600, np.random.default_rng(0))
    assert len(np.unique(values)) == 600
    np.testing.assert_array_equal(found, np.repeat(values / np.float32(12000), 3, -1))
    for tenth in range(10):
        assert 30 < np.sum(values // 1200 == tenth) < 90


def test_baselines_beat_the_mean_image_on_photographs(photos, hog):
    feature, standardization, values = hog
    train, rest = slice(0, None, 2), slice(1, None, 2)
    errors = {}
    for baseline in (
        MeanImage(feature),
        CellRidge(feature, standardization, penalty=0.3),
        PairedDictionary(feature, standardization, atoms=64, samples=1000),
    ):
        baseline.fit([(values[train], photos[train])])
        errors[baseline.name] = metrics.normalized_error(
            photos[rest], baseline.invert(values[rest])
        )
    assert errors["cell_ridge"] < 0.95 * errors["mean_image"]
    assert errors["paired_dictionary"] < 0.95 * errors["mean_image"]


@pytest.mark.parametrize("baseline", EVERY, ids=baseline_name)
def test_reconstructions_are_images_of_the_output_size(baseline):
    values, images = examples(70, baseline.feature)
    baseline.fit([(values, images)])
    wild = baseline.invert(1e3 * values)
    assert wild.shape == images.shape and wild.dtype == np.float32
    assert wild.min() >= 0 and wild.max() <= 1
    assert baseline.invert(values[:0]).shape == (0, 8, 8, 3)
    larger = type(baseline)(baseline.feature, *_standardization(baseline), output_size=(16, 8))
    larger.fit([(values, np.repeat(images, 2, 1))])
    assert larger.invert(values[:3]).shape == (3, 16, 8, 3)


def _standardization(baseline):
    return [] if isinstance(baseline, MeanImage) else [IDENTITY]


@pytest.mark.parametrize("baseline", EVERY, ids=baseline_name)
def test_fitting_starts_from_scratch_and_does_not_depend_on_batches(baseline):
    values, images = examples(30, baseline.feature)
    first = baseline.fit([(values, images)]).invert(values)
    baseline.fit([(values[:5] + 1, images[:5])])
    again = baseline.fit((values[i : i + 10], images[i : i + 10]) for i in (0, 10, 20))
    np.testing.assert_allclose(again.invert(values), first, atol=1e-4)
    again.fit([(values, images)])
    np.testing.assert_array_equal(again.invert(values), first)


@pytest.mark.parametrize("baseline", EVERY, ids=baseline_name)
def test_images_do_not_depend_on_their_batch(baseline):
    values, images = examples(300, baseline.feature)
    baseline.fit([(values[:50], images[:50])])
    alone = np.concatenate([baseline.invert(value[np.newaxis]) for value in values[250:]])
    np.testing.assert_allclose(baseline.invert(values)[250:], alone, atol=1e-4)


@pytest.mark.parametrize("baseline", EVERY, ids=baseline_name)
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_features_and_images(baseline, value):
    values = np.full((20, 4, 2, 5), value, np.float32)
    images = np.full((20, 8, 8, 3), 0.75, np.float32)
    baseline.fit([(values, images)])
    np.testing.assert_allclose(baseline.invert(values[:2]), images[:2], atol=0.01)


@pytest.mark.parametrize("baseline", EVERY, ids=baseline_name)
def test_bad_input_is_refused(baseline):
    values, images = examples(3, baseline.feature)
    fresh = type(baseline)(baseline.feature, *_standardization(baseline))
    with pytest.raises(InputError, match="of random is not fitted; call fit first"):
        fresh.invert(values)
    with pytest.raises(InputError, match="has no images to fit; give at least one"):
        fresh.fit([])
    with pytest.raises(InputError, match="has no images to fit; give at least one"):
        fresh.fit([(values[:0], images[:0])])
    with pytest.raises(InputError, match=r"the shape \[B, 4, 2, 5\]. Received: \(3, 4, 2\)"):
        fresh.fit([(values[..., 0], images)])
    with pytest.raises(InputError, match="fitted on 3 features .* Received: float32 .2, 8, 8, 3"):
        fresh.fit([(values, images[:2])])
    with pytest.raises(InputError, match="floating-point images of 8×8×3. Received: uint8"):
        fresh.fit([(values, images.astype(np.uint8))])
    with pytest.raises(InputError, match="call fit first"):  # after failed fits too
        fresh.invert(values)
    fresh.fit([(values, images)])
    with pytest.raises(InputError, match=r"must have the shape \[B, 4, 2, 5\]"):
        fresh.invert(values[0])
    with pytest.raises(InputError, match="NaN or infinite"):
        fresh.invert(values * np.nan)


@pytest.mark.parametrize("kind", [CellRidge, PairedDictionary])
def test_features_without_a_grid_of_whole_cells_are_refused(kind):
    with pytest.raises(InputError, match=r"takes features of shape \[rows, columns, channels\]"):
        kind(random_feature(12), IDENTITY)
    with pytest.raises(InputError, match="multiples of the grid's, 8×8 for hog. Received: 60×67"):
        kind(features.get("hog", image_shape=(60, 67, 3)), IDENTITY)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match="Received: radius=-1, penalty=0.01"):
        CellRidge(random_feature(4, 2, 5), IDENTITY, radius=-1)
    with pytest.raises(InputError, match="Received: radius=1, penalty=0"):
        CellRidge(random_feature(4, 2, 5), IDENTITY, penalty=0)
    with pytest.raises(InputError, match="takes a positive stride. Received: stride=0"):
        PairedDictionary(random_feature(4, 2, 5), IDENTITY, stride=0)
