"""Features, metrics and losses on the Keras backend of this process; for test_backends.py.

    python -m tests.results_by_backend FOLDER CASE...

reads `given.npz` and `CASE.weights.npz`, and writes `CASE.npz`. As a program it works as where
TensorFlow is not installed.
"""

import pathlib
import sys

import numpy as np


def values_of(name, images):
    """A feature of images, computed eagerly and in a compiled function, and its gradient."""
    from tfinvert import features
    from tfinvert.common.backend import compile_function, input_gradient

    name, height, width = name.split("@")[0], *map(int, name.split("@")[1].split("x"))
    images = np.ascontiguousarray(images[:, :height, :width])
    feature = features.get(name, image_shape=images.shape[1:])
    variables = feature.model.variables if feature.model else ()
    compiled = compile_function(feature, [images.shape], variables)
    results = {"eager": feature(images), "compiled": compiled(ops().convert_to_tensor(images))}
    if feature.differentiable:
        results["gradient"] = input_gradient(
            lambda x: ops().sum(ops().square(feature(x))), ops().convert_to_tensor(images)
        )
    return results


def ops():
    """`keras.ops`, imported once the backend is decided."""
    from keras import ops

    return ops


def values_of_metrics(images, others):
    """Metrics between images, and standardised features."""
    from tfinvert import features, metrics
    from tfinvert.common.images import resize_images
    from tfinvert.features.standardization import Standardization
    from tfinvert.metrics.frechet import image_set_distance
    from tfinvert.metrics.lpips import lpips

    hog = features.get("hog", image_shape=images.shape[1:])
    probabilities = features.get("squeezenet/probabilities", image_shape=images.shape[1:])
    results = {
        "metrics": [*metrics.compute_metrics(images, others).values()],
        "lpips": lpips(images, others),
        "frechet": image_set_distance(images, others).distance,
        "resized": resize_images(images, (37, 81)),
    }
    for feature in (hog, probabilities):
        standardization = Standardization.measure(feature, [feature(images)])
        results[f"standardised {feature.name}"] = standardization(feature(others))
    return results


def values_of_losses(images, others):
    """Losses between images, and their gradients."""
    from tfinvert.common.backend import input_gradient
    from tfinvert.training.losses import make_loss
    from tfinvert.training.uncertainty import gaussian_nll

    texts = ["mse:2,mae", "ssim", "perceptual"]
    texts += ["perceptual=alexnet/conv1+conv2", "perceptual=squeezenet/fire3"]
    losses = {text: make_loss(text, images.shape[1:3]) for text in texts}
    losses["nll"] = lambda images, others: gaussian_nll(images, images * 0.9, others - 0.5)
    images, others = map(ops().convert_to_tensor, (images, others))
    results = {}
    for name, loss in losses.items():
        results[name] = loss(images, others)
        results[f"{name}, gradient"] = input_gradient(
            lambda x, loss=loss: ops().sum(loss(images, x)), others
        )
    return results


def values_of_adversarial(images, others, weights):
    """Losses of inverter and discriminator, with gradients, and the discriminator's weights."""
    import keras

    from tfinvert import features
    from tfinvert.common.backend import input_gradient
    from tfinvert.training.losses.adversarial import AdversarialLoss
    from tfinvert.training.settings import Settings

    keras.utils.set_random_seed(0)
    images, others = (np.ascontiguousarray(x[:2, :32, :32]) for x in (images, others))
    hog = features.get("hog", image_shape=images.shape[1:])
    loss = AdversarialLoss(images.shape[1:3])
    loss.build(hog, Settings(steps=10, width=0.1))
    if weights:
        loss.model.set_weights(weights)
    values = hog(images)
    images, others = map(ops().convert_to_tensor, (images, others))
    functions = {"inverter": loss, "discriminator": loss.model_loss}
    results = {}
    for name, function in functions.items():
        results[name] = function(images, others, values)
        results[f"{name}, gradient"] = input_gradient(
            lambda x, function=function: ops().sum(function(images, x, values)), others
        )
    for value in (3.0, np.nan, 1.0):
        loss.update(ops().convert_to_tensor(np.float32(value)))
    results["mean loss"] = loss.log_values()["discriminator_loss"]
    return results, loss.model.get_weights()


def compute(case, images, others, weights=()):
    """Computes a case: the name of a feature, with the images' size, or another.

    Returns:
      Arrays by name, and the weights of a model that is initialised at random.
    """
    if case == "metrics":
        results = values_of_metrics(images, others)
    elif case == "losses":
        results = values_of_losses(images, others)
    elif case == "adversarial":
        results, weights = values_of_adversarial(images, others, weights)
    else:
        results = values_of(case, images)
    return {name: np.asarray(value) for name, value in results.items()}, weights


def main(folder, *cases):
    """Computes cases from the arrays in a folder."""
    folder = pathlib.Path(folder)
    given = np.load(folder / "given.npz")
    for case in cases:
        file = case.replace("/", "_")
        weights = np.load(folder / f"{file}.weights.npz")
        weights = [weights[f"arr_{i}"] for i in range(len(weights.files))]
        results, _ = compute(case, given["images"], given["others"], weights)
        np.savez(folder / f"{file}.npz", **results)


if __name__ == "__main__":
    sys.modules["tensorflow"] = None
    main(*sys.argv[1:])
