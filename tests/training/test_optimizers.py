"""What the optimisers make of their settings."""

import keras
import numpy as np
import pytest

from tfinvert.config.registry import OPTIMIZERS
from tfinvert.training.optimizers import learning_rate_schedule
from tfinvert.training.settings import Settings


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_decoupled_decay_is_a_multiple_of_the_rate(name):
    settings = Settings(steps=6, warmup_steps=2, optimizer=name, weight_decay=100.0)
    layer = keras.layers.Dense(4, bias_initializer="ones")
    layer.build((None, 3))
    before = layer.get_weights()
    optimizer = OPTIMIZERS[name](settings)
    optimizer.build(layer.trainable_variables)
    for _ in range(settings.steps):
        optimizer.apply([np.zeros(weight.shape, "f4") for weight in before])
    left = np.prod(
        [
            1 - 100.0 * float(learning_rate_schedule(settings)(step))
            for step in range(settings.steps)
        ]
    )
    assert 0.5 < left < 0.9
    for ours, weight in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_allclose(ours, left * weight, rtol=1e-5)
