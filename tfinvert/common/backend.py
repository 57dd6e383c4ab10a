"""What the package needs of a Keras backend beside `keras.ops`: compilation, gradients and shapes.

The functions run on the TensorFlow, JAX and PyTorch backends. The backend is the one that Keras has
when this module is imported (environment variable `KERAS_BACKEND`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tfinvert.errors import InputError

BACKEND = keras.backend.backend()

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
elif BACKEND == "torch":
    import torch

Tensor = Any  # a tensor of the backend
Shape = Sequence[int | None]


def require_tensorflow(what: str) -> None:
    """Checks that Keras runs on TensorFlow.

    Args:
      what: the subject of the error message, for example "tfinvert train".

    Raises:
      InputError: Keras runs on another backend.
    """
    if BACKEND != "tensorflow":
        raise InputError(
            f"{what} requires the TensorFlow backend; unset KERAS_BACKEND or set it to tensorflow. "
            f"Received: KERAS_BACKEND={BACKEND}"
        )


def is_traced(x: Tensor) -> bool:
    """Returns whether a tensor has no value yet, because a function is being compiled."""
    if BACKEND == "tensorflow":
        return not hasattr(x, "numpy") and tf.is_tensor(x)
    return BACKEND == "jax" and isinstance(x, jax.core.Tracer)


def ensure_shape(x: Tensor, shape: Shape) -> Tensor:
    """Returns a tensor whose static shape is known, after checking it; None fits any length.

    Raises:
      ValueError: the tensor has another shape (in a TensorFlow graph: when it is run).
    """
    if BACKEND == "tensorflow":
        return tf.ensure_shape(x, shape)
    if len(x.shape) != len(shape) or any(
        want is not None and have != want for have, want in zip(x.shape, shape, strict=True)
    ):
        raise ValueError(f"expected the shape {tuple(shape)}. Received: {tuple(x.shape)}")
    return x


def compile_function(
    function: Callable[..., Any],
    shapes: Sequence[Shape],
    variables: Sequence[keras.Variable] = (),
    dtypes: Sequence[str] | None = None,
) -> Callable[..., Any]:
    """Compiles a function of tensors of given shapes, without training or random numbers.

    TensorFlow traces it at once. The variables are read at every call, not compiled into the
    program, so that the function follows a network in training.

    Args:
      function: maps tensors to a tensor or a nested structure of tensors.
      shapes: a shape per argument; None for an axis of any length.
      variables: all variables that the function reads (JAX compiles others in as constants).
      dtypes: a dtype per argument; by default float32 for each.
    """
    dtypes = dtypes or ["float32"] * len(shapes)
    if BACKEND == "tensorflow":
        specs = [tf.TensorSpec(*each) for each in zip(shapes, dtypes, strict=True)]
        return tf.function(function).get_concrete_function(*specs)
    if BACKEND == "torch":

        def run_without_gradients(*arguments: Any) -> Any:
            with torch.no_grad():
                return function(*map(ops.convert_to_tensor, arguments))

        return run_without_gradients

    variables = [*variables]

    @jax.jit
    def run(values: list[Tensor], *arguments: Tensor) -> Any:
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
            return function(*arguments)

    return lambda *arguments: run([variable.value for variable in variables], *arguments)


def input_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Computes the gradient of a scalar function at x; it can be differentiated again."""
    if BACKEND == "tensorflow":
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return tape.gradient(value, x)
    if BACKEND == "jax":
        return jax.grad(function)(x)
    x = x if x.requires_grad else x.detach().requires_grad_()
    return torch.autograd.grad(function(x), x, create_graph=True)[0]


def trace_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function of tensors that graphs call often: it is traced once per shape."""
    if BACKEND == "tensorflow":
        return tf.function(function, autograph=False)
    return jax.jit(function) if BACKEND == "jax" else function
