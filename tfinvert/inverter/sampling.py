"""Samples images that have given features, with flow matching."""

import functools
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from tfinvert.common.backend import Tensor, compile_function
from tfinvert.errors import InputError
from tfinvert.inverter import tiling
from tfinvert.inverter.flow_matching import FlowSampler, seeded_noise
from tfinvert.inverter.inputs import are_images, read_features
from tfinvert.inverter.predictor import Predictor
from tfinvert.zoo.registry import list_inverters


class ImageSampler:
    """Runs a flow on arrays of features; owns the compiled function.

    Attributes:
      predictor: computes the reconstructions that samples are drawn around.
      flow: the flow, or None if there is none.
    """

    def __init__(self, predictor: Predictor, flow: FlowSampler | None):
        self.predictor = predictor
        self.flow = flow

    def sample(self, features: Any, n: int, *, seed: int, steps: int) -> np.ndarray:
        """Features or images → samples; see `Inverter.sample`."""
        decoder = self.predictor.decoder
        if self.flow is None:
            names = [entry.name for entry in list_inverters() if entry.supports_sampling]
            raise InputError(
                f"this {decoder.feature.name} inverter cannot sample images; use "
                f"{', '.join(names)} or an inverter trained with --train_sampler, at its own image "
                "size"
            )
        for name, value, minimum in (("n", n, 1), ("seed", seed, 0), ("steps", steps, 1)):
            if not isinstance(value, Integral) or value < minimum:
                raise InputError(
                    f"{name} must be a whole number of at least {minimum}. Received: {value}"
                )
        if are_images(decoder, features):
            features = self.predictor.encode(features, any_size=False)
        shape = (*decoder.output_size, 3)

        def sample_all(values: np.ndarray) -> np.ndarray:
            means = tiling.run_in_batches(self.predictor.compiled(decoder.decode), values, shape)

            def sample_batch(indices: np.ndarray) -> Tensor:
                """Samples with indices i * n + k: the k-th sample of the i-th feature."""
                pairs = [divmod(index, n) for index in indices.tolist()]
                noise = np.stack([seeded_noise((seed, *pair), shape) for pair in pairs])
                rows = indices // n
                return self._compiled(means[rows], values[rows], noise, np.int32(steps))

            indices = np.arange(len(values) * n)
            return tiling.run_in_batches(sample_batch, indices, shape).reshape(-1, n, *shape)

        return read_features(decoder, features, any_size=False).map(sample_all)

    @functools.cached_property
    def _compiled(self) -> Callable[..., Tensor]:
        """`FlowSampler.sample`, compiled for batches of any length and any number of steps."""
        decoder = self.predictor.decoder
        image = (None, *decoder.output_size, 3)
        shapes = [image, (None, *decoder.feature.spec.shape), image, ()]

        def sample(mean: Tensor, features: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
            return self.flow.sample(mean, decoder.standardization(features), noise, steps)

        dtypes = ["float32"] * 3 + ["int32"]
        return compile_function(sample, shapes, self.flow.network.variables, dtypes)
