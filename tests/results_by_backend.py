"""Features, metrics and losses on the Keras backend of this process; for test_backends.py.

    python -m tests.results_by_backend FOLDER CASE...

reads `given.npz` and writes `CASE.npz`. As a program it works as where TensorFlow is not installed.
"""

import functools
import importlib.abc
import pathlib
import sys

import numpy as np


def compile_and_run(function, variables, *arguments):
    """Runs a function of arrays in one program, which takes less time than one per operation."""
    from tfinvert.common.backend import compile_function

    compiled = compile_function(function, [x.shape for x in arguments], variables)
    return compiled(*to_tensors(*arguments))


def with_gradient(function, x):
    """The value of a function, and the gradient of the value's sum."""
    from keras import ops

    from tfinvert.common.backend import input_gradient

    return function(x), input_gradient(lambda x: ops.sum(function(x)), x)


def to_tensors(*arrays):
    from keras import ops

    return [ops.convert_to_tensor(x) for x in arrays]


def feature_values(name, images):
    """A feature of images, eagerly if it is quick and compiled, and the gradient of its square."""
    from tfinvert import features

    feature = features.get(name, image_shape=images.shape[1:])
    variables = feature.model.variables if feature.model else []
    results = {"compiled": compile_and_run(feature, variables, images)}
    if not feature.model:
        results["eager"] = feature(images)
    if feature.differentiable:

        def square(x):
            return feature(x) ** 2

        gradient = functools.partial(with_gradient, square)
        results["gradient"] = compile_and_run(gradient, variables, images)[1]
    return results


def metric_values(images, others):
    """Metrics between images, standardised features, and resized images."""
    from tfinvert import features, metrics
    from tfinvert.common.images import resize_images
    from tfinvert.features.standardization import Standardization
    from tfinvert.metrics.frechet import image_set_distance
    from tfinvert.metrics.lpips import lpips

    results = {
        "metrics": [*metrics.compute_metrics(images, others).values()],
        "lpips": lpips(images, others),
        "frechet": image_set_distance(images, others).distance,
        "resized": resize_images(images, (37, 81)),
    }
    probabilities = features.get("squeezenet/probabilities", image_shape=images.shape[1:])
    standardization = Standardization.measure(probabilities, [probabilities(images)])
    results["standardised"] = standardization(probabilities(others))
    return results


def loss_values(images, others):
    """Losses between images, and their gradients."""
    from tfinvert.training.losses import make_loss
    from tfinvert.training.uncertainty import gaussian_nll

    texts = ["mse:2,mae", "ssim", "perceptual"]
    texts += ["perceptual=alexnet/conv1+conv2", "perceptual=squeezenet/fire3"]

    def nll(images, others):
        return gaussian_nll(images, images * 0.9, others - 0.5)

    losses = {text: make_loss(text, images.shape[1:3]) for text in texts}
    losses["nll"] = nll
    (target,) = to_tensors(images)
    results = {}
    for name, loss in losses.items():
        function = functools.partial(with_gradient, functools.partial(loss, target))
        results[name], results[f"{name}, gradient"] = compile_and_run(function, [], others)
    return results


def adversarial_values(images, others):
    """Losses of inverter and discriminator, with gradients, for random weights."""
    from tfinvert import features
    from tfinvert.training.losses.adversarial import AdversarialLoss
    from tfinvert.training.settings import Settings

    hog = features.get("hog", image_shape=images.shape[1:])
    loss = AdversarialLoss(images.shape[1:3])
    loss.build(hog, Settings(steps=10, width=0.1))
    rng = np.random.default_rng(0)
    for weight in loss.model.weights:
        weight.assign(rng.normal(0, 0.1, weight.shape).astype(np.float32))
    target, values = to_tensors(images, rng.random((len(images), *hog.spec.shape), np.float32))
    results = {}
    for name, function in {"inverter": loss, "discriminator": loss.model_loss}.items():
        of_others = functools.partial(function, target, features=values)
        results[name], results[f"{name}, gradient"] = compile_and_run(
            functools.partial(with_gradient, of_others), loss.model.variables, others
        )
    for value in to_tensors(*np.float32([3, np.nan, 1])):
        loss.update(value)
    results["mean loss"] = loss.log_values()["discriminator_loss"]
    return results


def compute(case, images, others):
    """Computes "metrics", "losses", "adversarial" or, as "lbp@64x48", the values of a feature."""
    functions = {"metrics": metric_values, "losses": loss_values}
    if case in functions:
        results = functions[case](images, others)
    elif case == "adversarial":
        results = adversarial_values(images[:2, :32, :32], others[:2, :32, :32])
    else:
        name, _, size = case.partition("@")
        height, width = map(int, size.split("x"))
        results = feature_values(name, images[:, :height, :width])
    return {name: np.asarray(value) for name, value in results.items()}


def main(folder, *cases):
    """Computes cases from the arrays in a folder."""
    folder = pathlib.Path(folder)
    given = np.load(folder / "given.npz")
    for case in cases:
        results = compute(case, given["images"], given["others"])
        np.savez(folder / f"{case.replace('/', '_')}.npz", **results)


class NoTensorFlow(importlib.abc.MetaPathFinder):
    """Finds no TensorFlow. Keras takes `sys.modules["tensorflow"] = None` for an installed one."""

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, NoTensorFlow())
    main(*sys.argv[1:])
