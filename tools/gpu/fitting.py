"""Training steps on the device, several per call."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tfinvert.training.engine import CompiledStep

AT_ONCE = 8  # steps per call, as the device waits for Python between calls

_PACE_SECONDS, _LOG_SECONDS = 2.0, 10.0

Values = list[jax.Array]  # of all variables of a state
Steps = Callable[..., tuple[Values, jax.Array]]


def compiled(step: CompiledStep, batch: Callable[[jax.Array, Any], tuple[jax.Array, ...]]) -> Steps:
    """Compiles several steps.

    Args:
      step: trains on one batch.
      batch: draws a batch from data with a random key.

    Returns:
      A function of the variables' values, a random key, the number of steps and the data. It
      returns the new values and the mean loss, and overwrites the old values.
    """

    def steps(values: Values, key: jax.Array, count: int, data: Any) -> tuple[Values, jax.Array]:
        def take(values: Values, key: jax.Array) -> tuple[Values, jax.Array]:
            return step.pure(values, *batch(key, data))

        values, losses = jax.lax.scan(take, values, jax.random.split(key, count))
        return values, losses.mean()

    return jax.jit(steps, static_argnums=2, donate_argnums=0)


def warm(take: Steps, values: Values, data: Any, count: int = AT_ONCE) -> Values:
    """Compiles calls of `count` steps; returns the values after two calls from copies."""
    values = list(map(jnp.copy, values))
    for _ in range(2):
        values, _ = take(values, jax.random.key(0), count, data)
    return jax.block_until_ready(values)


def pace(take: Steps, values: Values, data: Any) -> float:
    """Measures steps per second on copies of the values."""
    values = warm(take, values, data)
    begin, done = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < _PACE_SECONDS or not done:
        values, loss = take(values, jax.random.key(0), AT_ONCE, data)
        loss.block_until_ready()
        done += AT_ONCE
    return done / seconds


def fit(take: Steps, values: Values, steps: int, seed: int, data: Any) -> Values:
    """Takes all steps and prints the loss; overwrites the values and returns the last ones."""
    key, shown = jax.random.key(seed), time.perf_counter()
    for first in range(0, steps, AT_ONCE):
        few = min(AT_ONCE, steps - first)
        values, loss = take(values, jax.random.fold_in(key, first), few, data)
        # Rarely, as reading the loss waits for the device.
        if first % (20 * AT_ONCE) == 0 and time.perf_counter() - shown > _LOG_SECONDS:
            print(f"step {first + few} of {steps}: loss {float(loss):.5f}", flush=True)
            shown = time.perf_counter()
    return jax.block_until_ready(values)
