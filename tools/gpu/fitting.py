"""Training steps on the device, several per call, with learning-rate decay and an EMA."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import muon
import numpy as np
from muon import Arrays, Moments

AVERAGING = 0.999
WARMUP = 200
AT_ONCE = 8  # steps per call, as the device waits for Python between calls

_PACE_SECONDS, _LOG_SECONDS = 2.0, 10.0


class State(NamedTuple):
    """Training state.

    Attributes:
      parameters: trained parameters.
      moments: moments of the optimiser.
      averages: exponential moving average of the parameters.
      step: number of completed steps.
    """

    parameters: Arrays
    moments: Moments
    averages: Arrays
    step: jax.Array


Steps = Callable[..., tuple[State, jax.Array]]


def start(parameters: Arrays) -> State:
    """Creates the initial state, of copies, since a step overwrites its arguments."""
    zeros = [list(map(jnp.zeros_like, parameters)) for _ in range(2)]
    copies = [list(map(jnp.copy, parameters)) for _ in range(2)]
    return State(copies[0], Moments(*zeros), copies[1], jnp.zeros((), jnp.float32))


def compiled(loss: Callable[..., jax.Array], move: Callable[..., tuple[Arrays, Moments]]) -> Steps:
    """Compiles a function of state, key, learning rates and further arguments of the loss.

    It takes one step per learning rate.

    Args:
      loss: function of parameters, a key and further arguments.
      move: `muon.update` with its constant arguments bound.

    Returns:
      A function that returns the new state and the mean loss of the steps; it donates the
      buffers of the old state.
    """

    def steps(state: State, key: jax.Array, rates: jax.Array, *given: Any) -> Any:
        def step(state: State, each: Any) -> tuple[State, jax.Array]:
            key, rate = each
            value, gradients = jax.value_and_grad(loss)(state.parameters, key, *given)
            count = state.step + 1
            parameters, moments = move(
                state.parameters, muon.clipped(gradients), state.moments, count, rate
            )
            kept = jnp.minimum(AVERAGING, (1 + count) / (10 + count))
            averages = [
                kept * average + (1 - kept) * parameter
                for average, parameter in zip(state.averages, parameters, strict=True)
            ]
            return State(parameters, moments, averages, count), value

        state, losses = jax.lax.scan(step, state, (jax.random.split(key, len(rates)), rates))
        return state, losses.mean()

    return jax.jit(steps, donate_argnums=0)


def rates(first: int, count: int, steps: int, peak: float) -> jax.Array:
    """Returns the learning rates of `count` steps: linear warm-up, then cosine decay to 0."""
    warmup = max(min(WARMUP, steps // 5), 1)
    done = np.arange(first, first + count)
    through = np.clip((done - warmup) / max(steps - warmup, 1), 0, 1)
    wave = 0.5 + 0.5 * np.cos(np.pi * through)
    return jnp.asarray(peak * np.minimum((done + 1) / warmup, 1) * wave, jnp.float32)


def warm(take: Steps, state: State, given: tuple[Any, ...], count: int = AT_ONCE) -> State:
    """Compiles a call of `count` steps by calls with learning rate 0; donates the state."""
    for _ in range(2):
        state, _ = take(state, jax.random.key(0), jnp.zeros(count, jnp.float32), *given)
    return jax.block_until_ready(state)


def pace(take: Steps, state: State, given: tuple[Any, ...]) -> float:
    """Measures steps per second after `warm`; donates the state."""
    none, key = jnp.zeros(AT_ONCE, jnp.float32), jax.random.key(0)
    state = warm(take, state, given)
    begin, done = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < _PACE_SECONDS or not done:
        state, loss = take(state, key, none, *given)
        loss.block_until_ready()
        done += AT_ONCE
    return done / seconds


def fit(
    take: Steps, state: State, steps: int, peak: float, seed: int, given: tuple[Any, ...]
) -> State:
    """Takes all steps and prints the loss."""
    key, shown = jax.random.key(seed), time.perf_counter()
    for first in range(0, steps, AT_ONCE):
        few = rates(first, min(AT_ONCE, steps - first), steps, peak)
        state, loss = take(state, jax.random.fold_in(key, first), few, *given)
        # Rarely, as reading the loss waits for the device.
        if first % (20 * AT_ONCE) == 0 and time.perf_counter() - shown > _LOG_SECONDS:
            print(f"step {first + len(few)} of {steps}: loss {float(loss):.5f}", flush=True)
            shown = time.perf_counter()
    return jax.block_until_ready(state)
