"""What the package needs of a Keras backend beside `keras.ops`.

Compilation, gradients, static shapes, calls of Python functions, precision, integer sums, and
Keras' default settings.

The functions run on the TensorFlow, JAX and PyTorch backends. The backend is the one that Keras has
when this module is imported (environment variable `KERAS_BACKEND`).
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
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

INTEGER = "int32" if BACKEND == "jax" else "int64"  # the largest integer type; JAX's by default


class _DefaultSettings(contextlib.ContextDecorator):
    """Keras' default settings in a block, or in a decorated function: float32, channels last.

    A user's `keras.json`, `keras.config` and global dtype policy then have no effect on what is
    built, loaded, traced or computed there, and hold again after the block. Blocks may be nested,
    and entered by several threads at once.
    """

    def __init__(self):
        self._lock, self._blocks = threading.Lock(), 0
        self._before: tuple[str, str, float] | None = None
        self._thread = threading.local()  # as Keras keeps a policy for each thread

    def __enter__(self) -> None:
        config = keras.config
        with self._lock:
            # Before the type changes, from which Keras derives a policy that was never set.
            policy = config.dtype_policy()
            if not self._blocks:
                self._before = config.floatx(), config.image_data_format(), config.epsilon()
                self._set("float32", "channels_last", 1e-7)
            self._blocks += 1
        self._thread.__dict__.setdefault("policies", []).append(policy)
        config.set_dtype_policy("float32")

    def __exit__(self, *error: object) -> None:
        keras.config.set_dtype_policy(self._thread.policies.pop())
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._set(*self._before)

    @staticmethod
    def _set(floatx: str, image_data_format: str, epsilon: float) -> None:
        keras.config.set_floatx(floatx)
        keras.config.set_image_data_format(image_data_format)
        keras.config.set_epsilon(epsilon)


default_settings = _DefaultSettings()


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


def fits_shape(x: Tensor, shape: Shape) -> bool:
    """Returns whether a tensor has a shape, as far as its own is known; None fits any length."""
    if BACKEND == "tensorflow":
        return x.shape.is_compatible_with(shape)
    return len(x.shape) == len(shape) and all(
        want is None or have == want for have, want in zip(x.shape, shape, strict=True)
    )


def ensure_shape(x: Tensor, shape: Shape) -> Tensor:
    """Returns a tensor whose static shape is known, after checking it; None fits any length.

    Raises:
      ValueError: the tensor has another shape (in a TensorFlow graph: when it is run).
    """
    if BACKEND == "tensorflow":
        return tf.ensure_shape(x, shape)
    if not fits_shape(x, shape):
        raise ValueError(f"expected the shape {tuple(shape)}. Received: {tuple(x.shape)}")
    return x


def compile_function(
    function: Callable[..., Any],
    shapes: Sequence[Shape],
    variables: Sequence[keras.Variable] = (),
    dtypes: Sequence[str] | None = None,
    xla: bool = False,
) -> Callable[..., Any]:
    """Compiles a function of tensors of given shapes, without training or random numbers.

    TensorFlow traces it at once. The variables are read at every call, not compiled into the
    program, so that the function follows a network in training. JAX computes in `full_precision`.

    Args:
      function: maps tensors to a tensor or a nested structure of tensors.
      shapes: a shape per argument; None for an axis of any length.
      variables: all variables that the function reads (JAX compiles others in as constants).
      dtypes: a dtype per argument; by default float32 for each.
      xla: whether TensorFlow compiles with XLA, as JAX always does.
    """
    dtypes = dtypes or ["float32"] * len(shapes)
    if BACKEND == "tensorflow":
        specs = [tf.TensorSpec(*each) for each in zip(shapes, dtypes, strict=True)]
        return tf.function(function, jit_compile=xla or None).get_concrete_function(*specs)
    if BACKEND == "torch":

        def run_without_gradients(*arguments: Any) -> Any:
            with torch.no_grad():
                return function(*map(ops.convert_to_tensor, arguments))

        return run_without_gradients

    variables = [*variables]

    @jax.jit
    def run(values: list[Tensor], *arguments: Tensor) -> Any:
        mapping = zip(variables, values, strict=True)
        with keras.StatelessScope(state_mapping=mapping), full_precision():
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


def call_on_host(function: Callable[[np.ndarray], np.ndarray], x: Tensor, shape: Shape) -> Tensor:
    """Calls a Python function of an array, also when a function is being compiled.

    Args:
      function: maps the array `x` to a float32 array of `shape`.
      x: the argument.
      shape: the shape of the result; None for the unknown batch size of a TensorFlow graph.
    """
    if not is_traced(x):
        return ops.convert_to_tensor(function(ops.convert_to_numpy(x)))
    if BACKEND == "tensorflow":
        values = tf.py_function(lambda x: function(x.numpy()), [x], tf.float32)
        return tf.ensure_shape(values, shape)
    return jax.pure_callback(
        lambda x: function(np.asarray(x)), jax.ShapeDtypeStruct(shape, np.float32), x
    )


def full_precision() -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which JAX computes matrix products and convolutions in float32.

    By default a GPU may round their inputs to ten bits of mantissa.
    """
    if BACKEND == "jax":
        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


def lookup(table: np.ndarray, indices: Tensor) -> Tensor:
    """Returns the entries of a one-dimensional table at indices from 0, of the indices' shape."""
    if BACKEND == "tensorflow":  # ops.take spends three more operations on negative indices
        return tf.gather(table, indices)
    return ops.take(ops.convert_to_tensor(table), indices, axis=0)


def sum_by_label(labels: Tensor, weights: np.ndarray | Tensor, num_labels: int | Tensor) -> Tensor:
    """Sums integer weights by label.

    Args:
      labels: int32 `[B, n]`, from 0 up to `num_labels`.
      weights: `[n]`, of dtype `INTEGER`.
      num_labels: the number of labels.

    Returns:
      `[B, num_labels]`, of dtype `INTEGER`.
    """
    if BACKEND == "tensorflow":
        weights = tf.broadcast_to(weights, tf.shape(labels))
        return tf.raw_ops.DenseBincount(
            input=labels, size=num_labels, weights=weights, binary_output=False
        )
    count = labels.shape[0]
    slots = labels + num_labels * ops.arange(count, dtype="int32")[:, np.newaxis]
    weights = ops.broadcast_to(weights, labels.shape)
    sums = ops.segment_sum(ops.ravel(weights), ops.ravel(slots), count * num_labels)
    return ops.reshape(sums, (count, num_labels))


def gpu_names() -> list[str]:
    """Returns the names of the GPUs that the backend uses."""
    if BACKEND == "tensorflow":
        devices = tf.config.list_physical_devices("GPU")
        details = map(tf.config.experimental.get_device_details, devices)
        return [each.get("device_name", "GPU") for each in details]
    if BACKEND == "jax":
        return [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def trace_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function of tensors that graphs call often: it is traced once per shape."""
    if BACKEND == "tensorflow":
        return tf.function(function, autograph=False)
    return jax.jit(function) if BACKEND == "jax" else function
