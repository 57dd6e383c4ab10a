"""What a training step needs of a backend: gradients, sums over devices, and compilation.

`TensorFlowEngine` runs a step on the devices of a `tf.distribute` strategy, `JaxEngine` as a pure
function on one device. The step itself is written once, in `keras.ops` and `keras.Variable`s, see
`train_step.compile_train_step`.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tfinvert.common.backend import BACKEND, Tensor
from tfinvert.errors import InputError

Variables = Sequence[keras.Variable]
Gradients = list[list[Tensor]]
# From a batch to scalar losses, and these times the factors of their gradients.
Losses = Callable[..., tuple[list[Tensor], list[Tensor]]]
GradientFunction = Callable[..., tuple[list[Tensor], Gradients]]


class Engine(abc.ABC):
    """The part of a training step that depends on the backend.

    Attributes:
      num_devices: number of devices that share a batch.
    """

    num_devices: int = 1

    @abc.abstractmethod
    def gradient_function(
        self,
        losses: Losses,
        variables: Sequence[Variables],
        micro_batches: int,
        state: Variables,
    ) -> GradientFunction:
        """Creates a function from a device's share of a batch to losses and gradients.

        Args:
          losses: the losses; they are summed over the micro-batches.
          variables: for each loss, the variables with respect to which it is differentiated.
          micro_batches: number of parts of the share that are processed one after the other, so
            that memory holds the activations of one.
          state: see `compile`.
        """

    @abc.abstractmethod
    def global_norm(self, gradients: list[Tensor]) -> Tensor:
        """Computes the norm of the sum of the devices' gradients; call it on every device."""

    @abc.abstractmethod
    def scale(self, gradient: Tensor, factor: Tensor) -> Tensor:
        """Multiplies a gradient by a factor; 0 if the factor is 0 and the gradient not finite."""

    @abc.abstractmethod
    def run(self, function: Callable[..., Any], batch: Sequence[Any]) -> Any:
        """Calls a function on every device, with its share of a batch."""

    @abc.abstractmethod
    def reduce(self, operation: str, value: Any) -> Tensor:
        """Returns the "sum" or "mean" over the devices of a result of `run`."""

    @abc.abstractmethod
    def compile(self, step: Callable[..., Tensor], state: Variables) -> Callable[..., Tensor]:
        """Compiles a function of a batch that changes variables and returns a tensor.

        Args:
          step: the function.
          state: all variables that it changes. JAX compiles others that it reads in as constants.
        """


class TensorFlowEngine(Engine):
    """A step on the devices of a strategy.

    Args:
      strategy: the devices; None for the current strategy.
      jit: whether XLA compiles the gradients: "on", "off" or "auto", which does on a single GPU.

    Raises:
      InputError: XLA is requested on several devices.
    """

    def __init__(self, strategy: Any, jit: str):
        import tensorflow as tf

        self._tf = tf
        self._strategy = strategy or tf.distribute.get_strategy()
        self.num_devices = self._strategy.num_replicas_in_sync
        if jit == "on" and self.num_devices > 1:
            raise InputError(
                "--jit=on supports one device; use --jit=auto or off, or --strategy=one. "
                f"Received: {self.num_devices} devices"
            )
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        self._xla = jit == "on" or (jit == "auto" and self.num_devices == 1 and on_gpu)

    def gradient_function(
        self,
        losses: Losses,
        variables: Sequence[Variables],
        micro_batches: int,
        state: Variables,
    ) -> GradientFunction:
        """See `Engine.gradient_function`."""
        tf = self._tf

        def compute(*batch: Tensor) -> tuple[list[Tensor], Gradients]:
            with tf.GradientTape(persistent=len(variables) > 1) as tape:
                values, scaled = losses(*batch)
            return values, [tape.gradient(*each) for each in zip(scaled, variables, strict=True)]

        if self._xla:
            compute = tf.function(compute, jit_compile=True)
        if micro_batches == 1:
            return compute

        def accumulate(*batch: Tensor) -> tuple[list[Tensor], Gradients]:
            parts = _split(batch, micro_batches)

            def add(i: Tensor, sums: Any) -> tuple[Any, ...]:
                results = compute(*(x[i] for x in parts))
                return i + 1, tf.nest.map_structure(tf.add, sums, results)

            start = tf.constant(0), _zeros(variables)
            return tf.while_loop(lambda i, _: i < micro_batches, add, start, parallel_iterations=1)[
                1
            ]

        return accumulate

    def global_norm(self, gradients: list[Tensor]) -> Tensor:
        """See `Engine.global_norm`."""
        context = self._tf.distribute.get_replica_context()
        return self._tf.linalg.global_norm(context.all_reduce("sum", gradients))

    def scale(self, gradient: Tensor, factor: Tensor) -> Tensor:
        """See `Engine.scale`."""
        return self._tf.math.multiply_no_nan(gradient, factor)

    def run(self, function: Callable[..., Any], batch: Sequence[Any]) -> Any:
        """See `Engine.run`."""
        return self._strategy.run(function, args=batch)

    def reduce(self, operation: str, value: Any) -> Tensor:
        """See `Engine.reduce`."""
        return self._strategy.reduce(operation, value, axis=None)

    def compile(self, step: Callable[..., Tensor], state: Variables) -> Callable[..., Tensor]:
        """See `Engine.compile`."""
        return self._tf.function(step)


class JaxEngine(Engine):
    """A step on one device."""

    def gradient_function(
        self,
        losses: Losses,
        variables: Sequence[Variables],
        micro_batches: int,
        state: Variables,
    ) -> GradientFunction:
        """See `Engine.gradient_function`."""
        import jax

        trained = [variable for each in variables for variable in each]
        known = {id(variable) for variable in trained}
        others = [variable for variable in _distinct(state) if id(variable) not in known]

        def compute(fixed: list[Tensor], *batch: Tensor) -> tuple[list[Tensor], Gradients, Any]:
            """Also takes and returns the other variables, such as the states of random seeds."""

            def run(weights: Gradients) -> tuple[list[Tensor], Any]:
                current = [*sum(weights, []), *fixed]
                mapping = zip([*trained, *others], current, strict=True)
                with keras.StatelessScope(state_mapping=mapping) as scope:
                    values, scaled = losses(*batch)
                return scaled, (values, [scope.get_current_value(each) for each in others])

            weights = [[variable.value for variable in each] for each in variables]
            scaled, pullback, (values, changed) = jax.vjp(run, weights, has_aux=True)
            gradients = []
            for i in range(len(variables)):
                chosen = [ops.full_like(x, float(i == j)) for j, x in enumerate(scaled)]
                gradients.append(pullback(chosen)[0][i])
            return values, gradients, changed

        def compute_or_accumulate(*batch: Tensor) -> tuple[list[Tensor], Gradients]:
            fixed = [variable.value for variable in others]
            if micro_batches == 1:
                values, gradients, changed = compute(fixed, *batch)
            else:
                carry = (*_zeros(variables), fixed)
                parts = _split(batch, micro_batches)
                values, gradients, changed = jax.lax.scan(add, carry, parts)[0]
            for variable, value in zip(others, changed, strict=True):
                variable.assign(value)
            return values, gradients

        def add(carry: Any, part: list[Tensor]) -> tuple[Any, None]:
            *sums, fixed = carry
            *results, changed = compute(fixed, *part)
            return (*jax.tree.map(ops.add, sums, results), changed), None

        return compute_or_accumulate

    def global_norm(self, gradients: list[Tensor]) -> Tensor:
        """See `Engine.global_norm`."""
        return ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))

    def scale(self, gradient: Tensor, factor: Tensor) -> Tensor:
        """See `Engine.scale`."""
        return ops.where(factor == 0, 0.0, gradient * factor)

    def run(self, function: Callable[..., Any], batch: Sequence[Any]) -> Any:
        """See `Engine.run`."""
        return function(*batch)

    def reduce(self, operation: str, value: Any) -> Tensor:
        """See `Engine.reduce`."""
        return value

    def compile(self, step: Callable[..., Tensor], state: Variables) -> "CompiledStep":
        """See `Engine.compile`."""
        return CompiledStep(step, state)


class CompiledStep:
    """A step on JAX, compiled at its first call.

    A call overwrites the variables' arrays, so that no other reference to these may be kept.

    Args:
      step: a function of a batch that changes variables and returns a tensor.
      state: see `Engine.compile`.
    """

    def __init__(self, step: Callable[..., Tensor], state: Variables):
        import jax

        self._step, self._variables = step, _distinct(state)
        self._compiled = jax.jit(self.pure, donate_argnums=0)

    def __call__(self, *batch: Any) -> Tensor:
        """Trains on a batch of arrays; returns the loss."""
        values, loss = self._compiled(self.values, *batch)
        self.assign(values)
        return loss

    @property
    def values(self) -> list[Tensor]:
        """The arrays of the variables, of which no two are the same object."""
        values = [variable.value for variable in self._variables]
        first = {id(values[i]): i for i in reversed(range(len(values)))}
        return [x if first[id(x)] == i else x.copy() for i, x in enumerate(values)]

    def assign(self, values: Sequence[Tensor]) -> None:
        """Sets the variables."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def pure(self, values: list[Tensor], *batch: Any) -> tuple[list[Tensor], Tensor]:
        """Computes the variables' arrays after a step, and the loss, without changing anything.

        It is for JAX's transformations, such as `jax.lax.scan`.
        """
        mapping = zip(self._variables, values, strict=True)
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss = self._step(*batch)
        return [scope.get_current_value(variable) for variable in self._variables], loss


def make_engine(strategy: Any, jit: str) -> Engine:
    """Creates the engine of the backend that Keras has.

    Args:
      strategy: TensorFlow's devices; None for the current strategy, and on JAX.
      jit: see `TensorFlowEngine`; JAX always compiles with XLA.

    Raises:
      InputError: Keras runs on another backend, or see `TensorFlowEngine`.
    """
    if BACKEND == "tensorflow":
        return TensorFlowEngine(strategy, jit)
    if BACKEND == "jax":
        return JaxEngine()
    raise InputError(
        "training requires the TensorFlow or the JAX backend; set KERAS_BACKEND to one of them. "
        f"Received: KERAS_BACKEND={BACKEND}"
    )


def _distinct(variables: Variables) -> list[keras.Variable]:
    return list({id(variable): variable for variable in variables}.values())


def _split(batch: Sequence[Tensor], parts: int) -> list[Tensor]:
    """Reshapes the tensors of a batch from `[n, …]` to `[parts, n / parts, …]`."""
    return [ops.reshape(x, (parts, x.shape[0] // parts, *x.shape[1:])) for x in batch]


def _zeros(variables: Sequence[Variables]) -> tuple[list[Tensor], Gradients]:
    """Returns sums of losses and gradients to start from."""
    zeros = [[ops.zeros(variable.shape) for variable in each] for each in variables]
    return [ops.zeros(()) for _ in variables], zeros
