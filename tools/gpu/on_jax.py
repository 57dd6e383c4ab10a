"""Runs tfinvert's features and networks on JAX, without TensorFlow; import this module first.

It replaces `tensorflow` by the operations on jax.numpy that HOG, LBP, AlexNet's layers and the loss
use, and selects Keras' JAX backend; calling any other operation raises NotImplementedError.
Afterwards `import tfinvert` works, and a feature's `compute` can be differentiated and compiled.
"""

import importlib.machinery
import os
import sys
import types
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

# Before the replacement, as both import TensorFlow if it is present.
import jax
import jax.numpy as jnp
import keras  # noqa: F401
import numpy as np


class _Absent(type):
    """Metaclass of placeholders for annotations and base classes."""

    def __getattr__(cls, name: str) -> "_Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{cls.__name__}.{name}", (), {})

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__} has no implementation on JAX")


class _TensorFlow(types.ModuleType):
    def __getattr__(self, name: str) -> _Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"tensorflow.{name}", (), {})


class _Spec:
    def __init__(self, shape: Any, dtype: Any = None, name: str | None = None):
        self.shape, self.dtype, self.name = tuple(shape), dtype, name


def _function(*given: Any, **_: Any) -> Any:
    """`tf.function`, with or without arguments, as a no-op; `jax.jit` compiles here."""
    return given[0] if given and callable(given[0]) else lambda function: function


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> jax.Array:
    a, b = (jnp.swapaxes(x, -1, -2) if y else x for x, y in ((a, transpose_a), (b, transpose_b)))
    return jnp.matmul(a, b, precision="highest")  # the default rounds to ten bits on GPUs


def _over_axes(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda x, axis=None, keepdims=False: function(x, axis, keepdims=keepdims)


def _resize(images: jax.Array, size: tuple[int, int], antialias: bool = False) -> jax.Array:
    shape = images.shape[0], *size, images.shape[3]
    return jax.image.resize(images, shape, "linear", antialias=antialias)


def _operations() -> dict[str, Any]:
    same = ("abs", "concatenate", "float32", "float64", "int32", "int64", "maximum", "minimum")
    same += ("reshape", "sqrt", "square", "where", "zeros_like")
    return {name: getattr(jnp, name) for name in same} | {
        "cast": lambda x, dtype: jnp.asarray(x, dtype),
        "clip_by_value": jnp.clip,
        "concat": jnp.concatenate,
        "convert_to_tensor": jnp.asarray,
        "executing_eagerly": lambda: True,
        "function": _function,
        "gather": lambda x, indices, axis=0: jnp.take(jnp.asarray(x), indices, axis),
        "identity": lambda x: x,
        "image": types.SimpleNamespace(resize=_resize),
        "is_tensor": lambda x: False,
        "math": types.SimpleNamespace(log=jnp.log, rsqrt=jax.lax.rsqrt),
        "matmul": _matmul,
        "newaxis": None,
        "norm": jnp.linalg.norm,
        # Keras seeds all backends that it finds.
        "random": types.SimpleNamespace(set_seed=lambda seed: None),
        "range": jnp.arange,
        "reduce_mean": _over_axes(jnp.mean),
        "reduce_sum": _over_axes(jnp.sum),
        "shape": lambda x: x.shape,
        "Tensor": jax.Array,
        "TensorSpec": _Spec,
        "transpose": lambda x, axes=None: jnp.transpose(x, axes),
    }


def _triangles(pixels: int, cells: int, cell_size: int) -> np.ndarray:
    """`features.pooling.bilinear_weights` on the host."""
    centres = (np.arange(pixels) + 0.5) / cell_size - 0.5
    distance = np.abs(centres - np.arange(cells)[:, np.newaxis])
    return np.maximum(1.0 - distance, 0.0)[:, 1:-1].astype(np.float32)


def _cell_histograms(labels: jax.Array, bins: int, cell_size: int) -> jax.Array:
    """`features.pooling.cell_histograms` as sums of one-hot votes, which fit a GPU's memory."""
    height, width = (side + 2 for side in labels.shape[1:])
    votes = (labels[:, :, np.newaxis] == jnp.arange(bins)[:, np.newaxis]).astype(jnp.float32)
    rows, columns = (_triangles(side, side // cell_size, cell_size) for side in (height, width))
    return pooling.pool_cells(votes, rows, columns)


_tensorflow = _TensorFlow("tensorflow")
_tensorflow.__path__ = []
_tensorflow.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None)
_tensorflow.__dict__.update(_operations())
sys.modules["tensorflow"] = _tensorflow

from tfinvert.features import hog, lbp, pooling  # noqa: E402

hog.bilinear_weights = pooling.bilinear_weights = _triangles
lbp.cell_histograms = _cell_histograms
