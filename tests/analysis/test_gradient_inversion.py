"""Gradient-based inversion, against closed forms and on HOG."""

import numpy as np
import pytest
import tensorflow as tf

from tfinvert import InputError, features
from tfinvert.analysis.baselines.gradient_inversion import GradientInversion, default_tv_weight
from tfinvert.features import Feature, HostFeature

SHAPE = (5, 4, 3)
NO_PRIOR = {"tv_weight": 0.0, "range_weight": 0.0}


class Linear(Feature):
    """Fixed linear measurements of all pixels."""

    name = "linear"
    xla = False

    def __init__(self, matrix, image_shape=SHAPE):
        super().__init__(image_shape)
        self.matrix = np.asarray(matrix, np.float32)

    @property
    def spec(self):
        return tf.TensorSpec((len(self.matrix),), tf.float32)

    def compute(self, images):
        pixels = self.matrix.shape[1]
        return tf.matmul(tf.reshape(images, (-1, pixels)), self.matrix, transpose_b=True)


class EdgeEnergy(Feature):
    """Squared differences of neighbouring pixels, averaged over 3×3 cells."""

    name = "edge_energy"
    xla = False

    @property
    def spec(self):
        height, width, channels = self.image_shape
        return tf.TensorSpec((height // 3, width // 3, channels), tf.float32)

    def compute(self, images):
        down, right = tf.image.image_gradients(images)
        return tf.nn.avg_pool2d(tf.square(down) + tf.square(right), 3, 3, "VALID")


def random_images(count, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (count, *shape)).astype(np.float32)


@pytest.fixture(scope="module")
def linear():
    size = int(np.prod(SHAPE))
    return Linear(np.linalg.qr(np.random.default_rng(1).normal(size=(size, size)))[0])


@pytest.fixture(scope="module")
def linear_inversion(linear):
    """An inversion of few steps, whose graph the tests share."""
    return GradientInversion(linear, steps=5, seed=3)


@pytest.fixture(scope="module", params=["edges", pytest.param("hog", marks=pytest.mark.slow)])
def inversion(request):
    """An inversion of a nonlinear feature, whose graph the tests share."""
    shape = (24, 18, 3)
    hog = request.param == "hog"
    return GradientInversion(
        features.get("hog", image_shape=shape) if hog else EdgeEnergy(shape), steps=60
    )


@pytest.fixture(scope="module")
def phi(photos, inversion):
    return inversion.feature(photos[:4, 20:44, 20:38]).numpy()


def error(feature, images, phi):
    """‖Φ(x) - φ‖² / ‖φ‖² of each image."""
    values = feature(images).numpy().reshape(len(phi), -1)
    phi = phi.reshape(len(phi), -1)
    return np.square(values - phi).sum(1) / np.square(phi).sum(1)


def test_invertible_measurements_are_inverted(linear):
    images = random_images(3)
    phi = linear(images).numpy()
    found, errors = GradientInversion(linear, **NO_PRIOR).invert_with_error(phi)
    np.testing.assert_allclose(errors, error(linear, found, phi), rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(found, images, atol=0.01)
    assert found.dtype == errors.dtype == np.float32
    assert errors.max() < 1e-4


def test_the_total_variation_equals_its_closed_form(linear):
    # With beta = 2 and no range penalty the loss is quadratic: its minimum is a linear system's.
    image = random_images(1)
    phi = linear(image).numpy()[0].astype(np.float64)
    tv_weight = 0.3
    height, width, channels = SHAPE
    size = height * width * channels
    index = np.arange(size).reshape(SHAPE)
    differences = np.zeros((size, size))
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                for end in ((y + 1, x), (y, x + 1)):
                    if end[0] < height and end[1] < width:
                        step = np.zeros(size)
                        step[index[(*end, c)]], step[index[y, x, c]] = 1, -1
                        differences += np.outer(step, step)
    matrix = linear.matrix.astype(np.float64)
    system = matrix.T @ matrix / (phi @ phi) + tv_weight / size * differences
    expected = np.linalg.solve(system, matrix.T @ phi / (phi @ phi)).reshape(image.shape)
    assert expected.min() > 0 and expected.max() < 1 and np.abs(expected - image).max() > 0.05
    own = GradientInversion(linear, tv_weight=tv_weight, range_weight=0.0)
    np.testing.assert_allclose(own.invert(phi[np.newaxis]), expected, atol=0.01)


@pytest.mark.parametrize("range_weight", [0.1, pytest.param(3.0, marks=pytest.mark.slow)])
def test_the_range_penalty_equals_a_search(range_weight):
    one = Linear(np.eye(3), (1, 1, 3))

    values = np.linspace(0, 1, 10_001)
    losses = (values - 0.95) ** 2 / 0.95**2 + range_weight * (2 * values - 1) ** 6
    expected = values[losses.argmin()]
    found = GradientInversion(one, range_weight=range_weight).invert([[0.95] * 3])
    np.testing.assert_allclose(found, np.full((1, 1, 1, 3), expected), atol=0.01)


@pytest.mark.parametrize(
    "beta", [1.0, *(pytest.param(beta, marks=pytest.mark.slow) for beta in (1.5, 3.0))]
)
def test_a_larger_tv_weight_gives_smoother_images(linear, beta):
    phi = linear(random_images(2)).numpy()
    rough, smooth = (
        GradientInversion(linear, steps=100, tv_weight=weight, beta=beta).invert(phi)
        for weight in (1e-3, 3.0)
    )
    assert np.abs(np.diff(smooth, axis=1)).mean() < 0.8 * np.abs(np.diff(rough, axis=1)).mean()


@pytest.mark.parametrize("inversion", [pytest.param("hog", marks=pytest.mark.slow)], indirect=True)
def test_hog_approaches_its_target(inversion, phi):
    feature = inversion.feature
    found, errors = inversion.invert_with_error(phi)
    np.testing.assert_allclose(errors, error(feature, found, phi), rtol=1e-3)
    start = error(feature, np.broadcast_to(inversion.initial_noise(), found.shape), phi)
    assert (errors < 0.25 * start).all()
    assert found.shape == (4, 24, 18, 3)
    assert found.min() >= 0 and found.max() <= 1


def test_compiled_steps_equal_uncompiled_ones(linear, linear_inversion):
    phi = linear(random_images(2)).numpy()
    compiled = GradientInversion(linear, steps=5, seed=3, xla=True).invert(phi)
    np.testing.assert_allclose(compiled, linear_inversion.invert(phi), atol=1e-3)


@pytest.mark.slow
def test_compiled_steps_of_a_nonlinear_feature_equal_uncompiled_ones(inversion, phi):
    settings = {"steps": 3, "learning_rate": 0.01}
    compiled, other = (
        GradientInversion(inversion.feature, xla=xla, **settings).invert(phi)
        for xla in (True, False)
    )
    np.testing.assert_allclose(compiled, other, atol=1e-3)


def test_the_same_seed_gives_the_same_images(linear, linear_inversion):
    phi = linear(random_images(2)).numpy()
    again, other = (GradientInversion(linear, steps=5, seed=seed).invert(phi) for seed in (3, 4))
    first = linear_inversion.invert(phi)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_images_do_not_depend_on_their_batch(inversion, phi, linear, linear_inversion):
    found = inversion.invert(phi)
    changed = phi.copy()
    changed[2:] = 0.0
    np.testing.assert_array_equal(inversion.invert(changed)[:2], found[:2])
    values = linear(random_images(70)).numpy()  # more than one batch
    found = linear_inversion.invert(values)[-6:]
    np.testing.assert_allclose(found, linear_inversion.invert(values[-6:]), atol=1e-5)


@pytest.mark.slow
def test_starting_near_the_image_ends_near_it(inversion, photos, phi):
    images = photos[:4, 20:44, 20:38]
    careful = GradientInversion(inversion.feature, steps=60, learning_rate=0.005)
    noise = np.random.default_rng(0).normal(0, 0.03, images.shape).astype(np.float32)
    near = np.clip(images + noise, 0, 1)
    found, errors = careful.invert_with_error(phi, near)
    assert (errors < 0.7 * error(careful.feature, near, phi)).all()
    from_noise = careful.invert(phi)
    assert np.square(found - images).mean() < 0.3 * np.square(from_noise - images).mean()
    np.testing.assert_array_equal(near, np.clip(images + noise, 0, 1))  # not written to


def test_the_proximity_equals_its_closed_form(linear):
    # Measurements that keep all distances: each pixel minimises a weighted sum of two squares.
    images, initial = random_images(2), random_images(2, seed=5)
    phi = linear(images).numpy()
    weight = 4.0
    found = GradientInversion(linear, proximity_weight=weight, **NO_PRIOR).invert(phi, initial)
    ratio = weight / images[0].size * np.square(phi).sum(1).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(found, (images + ratio * initial) / (1 + ratio), atol=0.01)
    assert np.abs(found - images).max() > 0.05 and np.abs(found - initial).max() > 0.05


def test_there_is_no_proximity_by_default(linear, linear_inversion):
    phi, initial = linear(random_images(2)).numpy(), random_images(2, seed=5)
    none = GradientInversion(linear, steps=5, seed=3, proximity_weight=0.0).invert(phi, initial)
    np.testing.assert_array_equal(linear_inversion.invert(phi, initial), none)


def test_layers_of_few_values_get_a_larger_tv_weight():
    assert default_tv_weight(features.get("hog")) == 1.0
    conv1, fc6 = (default_tv_weight(features.get(f"alexnet/{x}")) for x in ("conv1", "fc6"))
    assert conv1 == pytest.approx(25 * 64 * 64 * 3 / (15 * 15 * 64))
    assert fc6 == pytest.approx(25 * 64 * 64 * 3 / 1024)


def test_features_of_flat_images_and_zeros(inversion):
    feature = inversion.feature
    flat = feature(np.full((2, 24, 18, 3), 0.3, np.float32)).numpy()
    values = np.concatenate([flat, np.zeros_like(flat)])
    found, errors = inversion.invert_with_error(values)
    assert np.isfinite(found).all() and np.isfinite(errors).all()
    assert np.isfinite(inversion.invert(values, np.zeros((4, 24, 18, 3)))).all()


def test_no_features_give_no_images(linear_inversion):
    found, errors = linear_inversion.invert_with_error(np.zeros((0, 60)))
    assert found.shape == (0, *SHAPE) and errors.shape == (0,)


def test_features_without_a_derivative_are_refused():
    with pytest.raises(InputError, match="lbp, whose derivative is zero almost everywhere"):
        GradientInversion(features.get("lbp"))
    host = HostFeature(np.asarray, (64, 64, 3), name="edges")
    with pytest.raises(InputError, match="edges, whose derivative is unknown, because it runs"):
        GradientInversion(host)


@pytest.mark.parametrize(
    "setting",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"tv_weight": -1.0},
        {"beta": 0.5},
        {"range_weight": -0.1},
        {"proximity_weight": -1.0},
    ],
)
def test_numbers_out_of_range_are_refused(linear, setting):
    with pytest.raises(InputError, match="takes steps ≥ 1, learning_rate > 0"):
        GradientInversion(linear, **setting)


def test_wrong_features_and_initial_images_are_refused(linear, linear_inversion):
    images = random_images(2)
    phi = linear(images).numpy()
    with pytest.raises(InputError, match=r"must have the shape \[B, 60\]. Received: \(2, 5\)"):
        linear_inversion.invert(phi[:, :5])
    with pytest.raises(InputError, match="NaN or infinite"):
        linear_inversion.invert(phi * np.nan)
    for initial in (images[:1], (255 * images).astype(np.uint8), images * np.inf):
        with pytest.raises(InputError, match="finite floating-point initial images .* for 2 f"):
            linear_inversion.invert(phi, initial)
