"""Samples images that have given features, with flow matching."""

import functools
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.inverter import tiling, validation
from tfinvert.inverter.flow_matching import FlowSampler, seeded_noise
from tfinvert.inverter.predictor import Predictor
from tfinvert.zoo.registry import list_inverters


class ImageSampler:
    """Runs a flow on arrays of features; owns the traced graph.

    Attributes:
      predictor: computes the reconstructions that samples are drawn around.
      flow: the flow, or None if there is none.
    """

    def __init__(self, predictor: Predictor, flow: FlowSampler | None):
        self.predictor = predictor
        self.flow = flow

    def sample(self, features: Any, n: int, *, seed: int, steps: int) -> np.ndarray:
        """Features → samples; see `Inverter.sample`."""
        decoder = self.predictor.decoder
        feature = decoder.feature
        if self.flow is None:
            names = [entry.name for entry in list_inverters() if entry.supports_sampling]
            raise InputError(
                f"this {feature.name} inverter cannot sample images; use {', '.join(names)} or an "
                "inverter trained with --train_sampler, at its own image size"
            )
        for name, value, minimum in (("n", n, 1), ("seed", seed, 0), ("steps", steps, 1)):
            if not isinstance(value, Integral) or value < minimum:
                raise InputError(
                    f"{name} must be a whole number of at least {minimum}. Received: {value}"
                )
        features = validation.to_float_array(feature, features)
        validation.check_features(feature, features, feature.spec.shape)
        shape = (*decoder.output_size, 3)
        means = tiling.run_in_batches(self.predictor.graph(decoder.decode), features, shape)

        def sample_batch(indices: np.ndarray) -> tf.Tensor:
            """Samples with indices i * n + k: the k-th sample of the i-th feature."""
            pairs = [divmod(index, n) for index in indices.tolist()]
            noise = np.stack([seeded_noise((seed, *pair), shape) for pair in pairs])
            rows = indices // n
            return self._graph(means[rows], features[rows], noise, np.int32(steps))

        indices = np.arange(len(features) * n)
        return tiling.run_in_batches(sample_batch, indices, shape).reshape(-1, n, *shape)

    @functools.cached_property
    def _graph(self) -> Callable[..., tf.Tensor]:
        """The graph of `FlowSampler.sample`, for batches of any length and any number of steps."""
        decoder = self.predictor.decoder
        image = tf.TensorSpec((None, *decoder.output_size, 3), tf.float32)
        features = tf.TensorSpec((None, *decoder.feature.spec.shape), tf.float32)

        def sample(mean: Any, features: Any, noise: Any, steps: Any) -> tf.Tensor:
            return self.flow.sample(mean, decoder.standardization(features), noise, steps)

        steps = tf.TensorSpec((), tf.int32)
        return tf.function(sample).get_concrete_function(image, features, image, steps)
