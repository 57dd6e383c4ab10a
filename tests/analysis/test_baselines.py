"""The learnt baselines against computations by another road, and on data of a known structure."""

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
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization

AS_IT_IS = Standardization(np.float32(0), np.float32(1))


def declared(*shape, image_shape=(8, 8, 3)):
    """A feature that is never computed: the tests make its values."""
    return HostFeature(np.asarray, shape, name="declared", image_shape=image_shape)


def examples(count, feature, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, *feature.spec.shape)).astype(np.float32)
    return values, rng.random((count, *feature.image_shape)).astype(np.float32)


def every_baseline(feature, standardization=AS_IT_IS):
    return [
        MeanImage(feature),
        CellRidge(feature, standardization),
        NearestNeighbor(feature, standardization),
        PairedDictionary(feature, standardization, window=2, atoms=4),
    ]


def named(baseline):
    return baseline.name


EVERY = every_baseline(declared(4, 2, 5))


@pytest.fixture(scope="module")
def hog(photos):
    """(feature, standardisation, features of the photographs)."""
    feature = features.get("hog", image_shape=(64, 64, 3))
    values = feature(photos).numpy()
    return feature, Standardization.measure(feature, [values]), values


def test_mean_image():
    feature = declared(3)
    values, images = examples(7, feature)
    mean = MeanImage(feature).fit([(values[:2], images[:2]), (values[2:], images[2:])])
    expected = np.broadcast_to(images.mean(0), (4, 8, 8, 3))
    np.testing.assert_allclose(mean.invert(values[:4]), expected, rtol=1e-6)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_cell_ridge_is_that_of_scikit_learn(reach):
    feature = declared(4, 2, 5)  # cells of 2×4 pixels
    values, images = examples(90, feature)
    measured = Standardization.measure(feature, [3 * values + 1])
    own = CellRidge(feature, measured, reach=reach, penalty=0.03)
    own.fit([(3 * values[:70] + 1, images[:70]), (3 * values[70:80] + 1, images[70:80])])

    def neighbourhoods(values):
        rows = []
        for value in values:
            for row in range(4):
                for column in range(2):
                    for y in range(row - reach, row + reach + 1):
                        for x in range(column - reach, column + reach + 1):
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
    feature = declared(4, 4, 12)
    values, images = examples(40, feature)
    values = images.reshape(-1, 4, 2, 4, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, 12)
    ridge = CellRidge(feature, AS_IT_IS, penalty=1e-9).fit([(values[:30], images[:30])])
    np.testing.assert_allclose(ridge.invert(values[30:]), images[30:], atol=1e-4)


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_nearest_neighbour_is_that_of_a_loop(batch):
    feature = declared(3, 4)
    values, images = examples(100, feature)
    queries = examples(20, feature, seed=1)[0]
    standardization = Standardization(np.arange(4, dtype=np.float32), np.float32([1, 9, 0.1, 2]))
    nearest = NearestNeighbor(feature, standardization)
    nearest.fit((values[i : i + batch], images[i : i + batch]) for i in range(0, 100, batch))
    expected = [
        min(range(100), key=lambda i, q=q: np.sum(((values[i] - q) / [1, 9, 0.1, 2]) ** 2))
        for q in queries.astype(np.float64)
    ]
    np.testing.assert_array_equal(nearest._nearest(queries), expected)
    np.testing.assert_allclose(nearest.invert(queries), images[expected], atol=0.5 / 255 + 1e-6)


def test_a_feature_it_has_seen_gives_its_own_image():
    feature = declared(500)
    values, images = examples(30, feature)
    values = 100 + 1e-1 * values  # far from zero, where |a|² + |b|² - 2ab loses what tells them
    nearest = NearestNeighbor(feature, AS_IT_IS).fit([(values, images)])
    np.testing.assert_array_equal(nearest._nearest(values), np.arange(30))
    np.testing.assert_allclose(nearest.invert(values), images, atol=0.5 / 255 + 1e-6)


def test_of_equally_near_images_the_first():
    feature = declared(50)
    values, images = examples(9, feature)
    values = np.concatenate([values, values, values])
    nearest = NearestNeighbor(feature, AS_IT_IS).fit([(values, np.concatenate([images] * 3))])
    np.testing.assert_array_equal(nearest._nearest(values[9:]), np.tile(np.arange(9), 2))


def test_values_too_large_for_float16_are_still_told_apart():
    feature = declared(2)
    values = np.float32([[1e6, 0], [-1e6, 0], [0, 1e30]])
    images = examples(3, feature)[1]
    nearest = NearestNeighbor(feature, AS_IT_IS).fit([(values, images)])
    np.testing.assert_array_equal(nearest._nearest(values), [0, 1, 2])
    assert np.isfinite(nearest.invert(values)).all()


def test_nearest_neighbour_keeps_two_bytes_a_value_and_one_a_colour():
    feature = declared(16, 16, 133, image_shape=(64, 64, 3))
    nearest = NearestNeighbor(feature, AS_IT_IS).fit([examples(3, feature)])
    assert {block.dtype for block in nearest._features} == {np.dtype(np.float16)}
    assert {block.dtype for block in nearest._images} == {np.dtype(np.uint8)}


@pytest.fixture(scope="module")
def sparse():
    """Cells that are each two of 24 pairs (12 numbers, 48 colours): features, images."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(24, 12 + 48))
    pairs[:, :12] /= np.linalg.norm(pairs[:, :12], axis=1, keepdims=True)
    cells = 400 * 16
    codes = np.zeros((cells, 24))
    for code in codes:
        code[rng.choice(24, 2, replace=False)] = rng.uniform(0.5, 1.5, 2)
    joint = codes @ pairs
    values = joint[:, :12].reshape(400, 4, 4, 12)
    images = (0.5 + 0.04 * joint[:, 12:]).reshape(400, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    return values.astype(np.float32), images.reshape(400, 16, 16, 3).astype(np.float32)


def test_paired_dictionary_finds_what_no_linear_map_can(sparse):
    # 24 atoms in 12 dimensions: the features alone determine the pixels only by being sparse.
    values, images = sparse
    feature = declared(4, 4, 12, image_shape=(16, 16, 3))
    settings = {"window": 1, "stride": 1, "atoms": 24, "learning_penalty": 0.1, "penalty": 0.01}
    pairs = PairedDictionary(feature, AS_IT_IS, **settings).fit([(values[:350], images[:350])])
    ridge = CellRidge(feature, AS_IT_IS, reach=0).fit([(values[:350], images[:350])])
    mean = MeanImage(feature).fit([(values[:350], images[:350])])
    errors = [
        np.square(baseline.invert(values[350:]) - images[350:]).mean()
        for baseline in (pairs, ridge, mean)
    ]
    assert errors[0] < 0.5 * errors[1]
    assert errors[1] < 0.8 * errors[2]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows_are_averaged_where_they_overlap(stride):
    feature = declared(4, 5, 3, image_shape=(8, 5, 3))  # cells of 2×1 pixels
    values, images = examples(60, feature)
    pairs = PairedDictionary(feature, AS_IT_IS, window=2, stride=stride, atoms=20, samples=500)
    pairs.fit([(values, images)])
    total, count = np.zeros((8, 5, 3)), np.zeros((8, 5, 1))
    for row in (0, 1, 2) if stride == 1 else (0, 2):
        for column in (0, 1, 2, 3) if stride == 1 else (0, 2, 3):
            window = values[7, row : row + 2, column : column + 2].reshape(1, 12)
            window /= pairs._feature_scale
            code = sparse_encode(window, pairs._feature_atoms, algorithm="lasso_lars", alpha=0.1)
            pixels = (code @ pairs._pixel_atoms + pairs._mean).reshape(4, 2, 3)
            total[2 * row : 2 * row + 4, column : column + 2] += pixels
            count[2 * row : 2 * row + 4, column : column + 2] += 1
    assert count.min() > 0
    np.testing.assert_allclose(
        pairs.invert(values[7:8])[0], np.clip(total / count, 0, 1), atol=1e-3
    )


def test_the_sample_of_windows_is_even_and_paired():
    feature = declared(2, 3, 1, image_shape=(2, 3, 3))
    numbers = np.arange(2000 * 6, dtype=np.float32).reshape(2000, 2, 3, 1)
    images = np.repeat(numbers / 12000, 3, -1)
    pairs = PairedDictionary(feature, AS_IT_IS, window=1, samples=600)
    batches = ((numbers[i : i + 50], images[i : i + 50]) for i in range(0, 2000, 50))
    values, pixels = pairs._sample(batches, np.random.default_rng(0))
    assert len(np.unique(values)) == 600
    np.testing.assert_array_equal(pixels, np.repeat(values / np.float32(12000), 3, -1))
    for tenth in range(10):
        assert 30 < np.sum(values // 1200 == tenth) < 90


def test_on_photographs_the_baselines_are_better_than_the_mean(photos, hog):
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


@pytest.mark.parametrize("baseline", EVERY, ids=named)
def test_reconstructions_are_images_of_any_size(baseline):
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
    return [] if isinstance(baseline, MeanImage) else [AS_IT_IS]


@pytest.mark.parametrize("baseline", EVERY, ids=named)
def test_learning_again_is_learning_anew_however_it_is_batched(baseline):
    values, images = examples(30, baseline.feature)
    first = baseline.fit([(values, images)]).invert(values)
    baseline.fit([(values[:5] + 1, images[:5])])
    again = baseline.fit((values[i : i + 10], images[i : i + 10]) for i in (0, 10, 20))
    np.testing.assert_allclose(again.invert(values), first, atol=1e-4)
    again.fit([(values, images)])
    np.testing.assert_array_equal(again.invert(values), first)


@pytest.mark.parametrize("baseline", EVERY, ids=named)
def test_an_image_does_not_depend_on_its_batch_mates(baseline):
    values, images = examples(300, baseline.feature)
    baseline.fit([(values[:50], images[:50])])
    alone = np.concatenate([baseline.invert(value[np.newaxis]) for value in values[250:]])
    np.testing.assert_allclose(baseline.invert(values)[250:], alone, atol=1e-4)


@pytest.mark.parametrize("baseline", EVERY, ids=named)
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_features_and_images_that_never_vary(baseline, value):
    values = np.full((20, 4, 2, 5), value, np.float32)
    images = np.full((20, 8, 8, 3), 0.75, np.float32)
    baseline.fit([(values, images)])
    np.testing.assert_allclose(baseline.invert(values[:2]), images[:2], atol=0.01)


@pytest.mark.parametrize("baseline", EVERY, ids=named)
def test_wrong_input(baseline):
    values, images = examples(3, baseline.feature)
    fresh = type(baseline)(baseline.feature, *_standardization(baseline))
    with pytest.raises(InputError, match="learnt from no images: call fit first"):
        fresh.invert(values)
    with pytest.raises(InputError, match="no images to learn from"):
        fresh.fit([])
    with pytest.raises(InputError, match="no images to learn from"):
        fresh.fit([(values[:0], images[:0])])
    with pytest.raises(InputError, match=r"have the shape \[B, 4, 2, 5\]. Received: \(3, 4, 2\)"):
        fresh.fit([(values[..., 0], images)])
    with pytest.raises(InputError, match="learns from 3 features .* Received: float32 .2, 8, 8, 3"):
        fresh.fit([(values, images[:2])])
    with pytest.raises(InputError, match="floating point images of 8×8×3. Received: uint8"):
        fresh.fit([(values, images.astype(np.uint8))])
    with pytest.raises(InputError, match="call fit first"):  # also after fits that failed
        fresh.invert(values)
    fresh.fit([(values, images)])
    with pytest.raises(InputError, match=r"have the shape \[B, 4, 2, 5\]"):
        fresh.invert(values[0])
    with pytest.raises(InputError, match="NaN or infinite"):
        fresh.invert(values * np.nan)


@pytest.mark.parametrize("kind", [CellRidge, PairedDictionary])
def test_what_is_no_grid_of_whole_cells_is_refused(kind):
    with pytest.raises(InputError, match=r"takes features of shape \[rows, columns, channels\]"):
        kind(declared(12), AS_IT_IS)
    with pytest.raises(InputError, match="multiples of the grid's, 8×8 for hog. Received: 60×67"):
        kind(features.get("hog", image_shape=(60, 67, 3)), AS_IT_IS)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match="Received: reach -1, penalty 0.01"):
        CellRidge(declared(4, 2, 5), AS_IT_IS, reach=-1)
    with pytest.raises(InputError, match="Received: reach 1, penalty 0"):
        CellRidge(declared(4, 2, 5), AS_IT_IS, penalty=0)
    with pytest.raises(InputError, match="paired_dictionary: stride must be positive. Received: 0"):
        PairedDictionary(declared(4, 2, 5), AS_IT_IS, stride=0)
