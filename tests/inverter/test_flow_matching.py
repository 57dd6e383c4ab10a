"""The interpolant, Heun's method and seeded noise against closed forms."""

import numpy as np
import tensorflow as tf

from tfinvert.inverter import flow_matching


def test_the_interpolant_goes_from_noise_to_data_at_constant_velocity():
    noise, data = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 3)).astype("f4")
    times = np.array([[0.0], [1.0], [0.25]], "f4")
    point, velocity = flow_matching.interpolant(noise, data, times)
    np.testing.assert_allclose(point[0], noise[0])
    np.testing.assert_allclose(point[1], data[1])
    np.testing.assert_allclose(point[2] + 0.75 * velocity[2], data[2], atol=1e-6)


def gaussian_velocity(mean, std):
    """Returns the velocity from standard normal noise to normal data, in closed form."""

    def velocity(state, time):
        t = time[:, :, tf.newaxis, tf.newaxis]
        variance = (1 - t) ** 2 + (t * std) ** 2
        slope = (t * std**2 - (1 - t)) / variance
        return mean + slope * (state - t * mean)

    return velocity


def test_integration_of_a_known_velocity_is_of_second_order():
    noise = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("f4")
    errors = [
        np.abs(
            flow_matching.integrate_heun(gaussian_velocity(0.4, 0.3), noise, steps)
            - (0.4 + 0.3 * noise)
        ).max()
        for steps in (8, 16, 32)
    ]
    assert errors[-1] < 2e-3
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_steps_are_those_of_heun():
    noise = np.full((1, 1, 1, 3), 2.0, "f4")

    def velocity(x, t):
        return x * t[:, :, tf.newaxis, tf.newaxis]

    found = flow_matching.integrate_heun(velocity, noise, 2)
    x = 2.0
    for t in (0.0, 0.5):
        first = x * t
        x += 0.25 * (first + (x + 0.5 * first) * (t + 0.5))
    np.testing.assert_allclose(found, np.full((1, 1, 1, 3), x), rtol=1e-6)


def test_noise_is_standard_normal_and_determined_by_its_seeds():
    noise = flow_matching.seeded_noise((4, 1, 2), (64, 64, 3))
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    np.testing.assert_array_equal(noise, flow_matching.seeded_noise((4, 1, 2), (64, 64, 3)))
    assert np.abs(noise - flow_matching.seeded_noise((4, 2, 1), (64, 64, 3))).mean() > 0.5
