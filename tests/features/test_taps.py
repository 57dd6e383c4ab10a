"""Layers of AlexNet, of keras.applications models and of `.keras` files as features."""

import json
import pathlib
import shutil
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert import features
from tfinvert.networks import alexnet, weights
from tfinvert.networks.weights import Weights

# The smallest inputs whose pool5 is 2×2, so that the order of flattening matters.
INPUT = {"torchvision": 95, "caffenet": 71, "bvlc": 71}
UNITS = (16, 12, 5)
MOBILENET = "mobilenet_v2/block_1_expand_relu:weights=random,input_size=64"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("taps")


def layers_of(model):
    return {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.weights}


@pytest.fixture(scope="module")
def network(folder):
    """Returns a small random AlexNet of a variant, for images of its input size, and its file."""
    networks = {}

    def build(variant="torchvision"):
        if variant not in networks:
            model = alexnet.build(variant, input_size=INPUT[variant], units=UNITS)
            random = np.random.default_rng(1)
            for layer in model.layers:
                if layer.weights:
                    kernel, bias = layer.get_weights()
                    layer.set_weights([kernel, random.normal(size=bias.shape, scale=0.1)])
            path = folder / f"{variant}.safetensors"
            weights.save(path, Weights(variant, layers_of(model), INPUT[variant]))
            networks[variant] = model, path
        return networks[variant]

    return build


@pytest.fixture
def tap(network):
    """Builds a layer of the torchvision variant, for 64×64 images by default."""

    def get(layer, options="", **config):
        return features.get(f"alexnet/{layer}:weights={network()[1]},{options}", **config)

    return get


@pytest.fixture(scope="module")
def vector(network):
    """The paper's fc6."""
    return features.get(f"alexnet/fc6:weights={network()[1]}")


@pytest.fixture(scope="module")
def images(photos):
    return photos[:3]


def save(model, path):
    with warnings.catch_warnings():  # h5py under NumPy 2
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(path)


@pytest.fixture(scope="module")
def own(folder):
    """A small model of 32×32 images in [-1, 1], and its file."""
    keras.utils.set_random_seed(2)
    inputs = x = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 5, 4, activation="relu", name="grid")(x)
    x = keras.layers.BatchNormalization(name="normalised")(x)
    rows = keras.layers.Reshape((7, 28), name="rows")(x)
    x = keras.layers.Flatten(name="flat")(rows)
    x = keras.layers.Dropout(0.5, name="dropped")(x)
    model = keras.Model(inputs, keras.layers.Dense(6, name="vector")(x))
    _, _, mean, variance = model.get_layer("normalised").get_weights()
    model.get_layer("normalised").set_weights([mean + 2, mean + 1, mean + 0.1, variance * 3])
    path = folder / "own.keras"
    save(model, path)
    return model, path


def truncate(model, layer):
    return keras.Model(model.input, model.get_layer(layer).output)


def part_between(model, layer, last):
    """The part of a model between two layers."""
    return keras.Model(model.get_layer(layer).output, model.get_layer(last).output)


def refusal(name, **config):
    with pytest.raises(tfinvert.InputError) as error:
        features.get(name, **config)
    assert "\n" not in str(error.value)
    return str(error.value)


def resized(images, side):
    return tf.image.resize(images, (side, side), antialias=True).numpy()


# reference: section 3 of the paper, "the output of the last processing step of the layer".
LAST = [
    ("torchvision", "conv1", "pool1"),
    pytest.param("torchvision", "conv2", "pool2", marks=pytest.mark.slow),
    ("torchvision", "conv3", "relu3"),
    pytest.param("torchvision", "conv4", "relu4", marks=pytest.mark.slow),
    ("torchvision", "conv5", "pool5"),
    ("torchvision", "fc6", "relu6"),
    pytest.param("torchvision", "fc7", "relu7", marks=pytest.mark.slow),
    pytest.param("torchvision", "fc8", "fc8", marks=pytest.mark.slow),
    ("torchvision", "probabilities", "prob"),
    ("caffenet", "conv1", "norm1"),
    pytest.param("caffenet", "conv2", "norm2", marks=pytest.mark.slow),
    ("bvlc", "conv1", "pool1"),
    pytest.param("bvlc", "conv2", "pool2", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("variant", "paper", "raw"), LAST)
def test_the_papers_names_are_the_last_processing_steps(network, images, variant, paper, raw):
    model, path = network(variant)
    side = INPUT[variant]
    feature = features.get(f"alexnet/{paper}:weights={path}", image_shape=(side, side, 3))
    enlarged = resized(images, side)
    expected = truncate(model, raw)(enlarged)
    np.testing.assert_allclose(feature(enlarged), expected, atol=1e-5 * np.abs(expected).max())
    assert feature.spec.shape == expected.shape[1:]
    assert feature.name == f"alexnet/{paper}"
    assert feature.in_graph and feature.differentiable and not feature.portable


def pooled(x, ceil):
    """Max pooling 3/2; `ceil` keeps a last, partial window."""
    sides = [(side - 3 + ceil) // 2 + 1 for side in x.shape[1:3]]
    window = [
        [x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] for j in range(sides[1])]
        for i in range(sides[0])
    ]
    return np.stack([np.stack([part.max((1, 2)) for part in row], 1) for row in window], 1)


def normalised(x):
    """Caffe's local response normalisation, size 5, α 1e-4, β 0.75."""
    total = np.zeros_like(x)
    for channel in range(x.shape[-1]):
        near = x[..., max(0, channel - 2) : channel + 3].astype(np.float64)
        total[..., channel] = np.square(near).sum(-1)
    return x / (1 + 1e-4 / 5 * total) ** 0.75


@pytest.mark.parametrize(
    ("variant", "steps"),
    [
        ("torchvision", lambda x: pooled(x, ceil=False)),
        ("caffenet", lambda x: normalised(pooled(x, ceil=True))),
        ("bvlc", lambda x: pooled(normalised(x), ceil=True)),
    ],
)
def test_conv1_is_the_raw_convolution_rectified_pooled_and_normalised(
    network, images, variant, steps
):
    name = f"alexnet/conv1:weights={network(variant)[1]}"
    raw = features.get(f"{name},raw=true")(images).numpy()
    assert raw.min() < 0
    paper = features.get(name)(images)
    np.testing.assert_allclose(paper, steps(np.maximum(raw, 0)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", ["", "raw=true"])
def test_raw_layers_by_name(tap, options):
    assert tap("relu1", options).spec.shape == (23, 23, 64)
    assert tap("pool1", options).spec.shape == (11, 11, 64)


def test_raw_layers_that_share_a_name_with_the_paper(tap, images):
    assert tap("conv5").spec.shape == (2, 2, 256)
    assert tap("conv5", "raw=true").spec.shape == (5, 5, 256)
    both = tap("fc6", "raw=true")(images), tap("fc6")(images)
    np.testing.assert_array_equal(np.maximum(both[0], 0), both[1])
    assert both[0].numpy().min() < 0


def test_unknown_layer(network):
    name = f"alexnet/conv9:weights={network()[1]}"
    assert refusal(name) == (
        "no layer alexnet/conv9; choose one of conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8, "
        "probabilities or the raw layers conv1_pad, conv1, relu1, pool1, conv2, relu2, pool2, "
        "conv3, relu3, conv4, relu4, conv5, relu5, pool5, flatten, fc6, relu6, drop6, fc7, relu7, "
        "drop7, fc8, prob"
    )
    assert "choose one of conv1_pad, conv1, relu1" in refusal(f"{name},raw=true")
    assert "no layer alexnet/preprocess" in refusal(f"alexnet/preprocess:weights={network()[1]}")


def test_fully_connected_layers_at_another_input_size(tap, network):
    assert tap("conv5", "input_size=63").spec.shape == (1, 1, 256)
    assert refusal(f"alexnet/fc6:weights={network()[1]},input_size=63").startswith(
        "no layer alexnet/fc6: fc6 needs 2×2 cells of conv5 (an input of 95 pixels), but there are "
        "1×1; choose one of conv1, conv2, conv3, conv4, conv5 or the raw layers conv1"
    )
    # Inputs of 95 to 126 pixels also give 2×2 cells.
    assert tap("fc6", "input_size=100").spec.shape == (16,)


def test_a_file_without_fully_connected_layers(network, folder, images):
    model, whole = network()
    path = folder / "trunk.safetensors"
    trunk = {name: pair for name, pair in layers_of(model).items() if name.startswith("conv")}
    weights.save(path, Weights("torchvision", trunk, 95))
    np.testing.assert_array_equal(
        features.get(f"alexnet/conv5:weights={path}")(images),
        features.get(f"alexnet/conv5:weights={whole}")(images),
    )
    assert f"no layer alexnet/fc7: {path} ends with conv5; choose one of conv1" in refusal(
        f"alexnet/fc7:weights={path}"
    )


def test_a_file_without_input_size_gets_the_published_one(network, folder):
    path = folder / "silent.safetensors"
    weights.save(path, Weights("torchvision", layers_of(network()[0])))
    assert features.get(f"alexnet/conv5:weights={path}").spec.shape == (6, 6, 256)
    message = refusal(f"alexnet/fc6:weights={path}")
    assert "fc6 needs 2×2 cells of conv5, but there are 6×6" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "variant=alexnet",
            "unknown AlexNet variant; choose one of caffenet, bvlc, torchvision. Rec",
        ),
        ("input_size=62", "the input of AlexNet is too small: pool5 would be empty; 63×63 pixels"),
        ("input_size=-1", "the input of AlexNet is too small: conv1 would be empty; 63×63 pixels"),
        ("input_size=-300", "the input of AlexNet is too small: conv1 would be empty; 63×63"),
    ],
)
def test_invalid_network(options, message):
    assert refusal(f"alexnet/conv1:weights=random,{options}").startswith(message)


def test_random_weights_are_deterministic_with_a_head_of_any_width(images):
    name = "weights=random,variant=caffenet,input_size=63"
    first, second = (features.get(f"alexnet/conv2:{name}") for _ in range(2))
    np.testing.assert_array_equal(first(images), second(images))
    assert np.std(first(images)) > 0
    assert features.get(f"alexnet/fc7:{name},units=24").spec.shape == (24,)
    assert features.get(f"alexnet/probabilities:{name},units=24").spec.shape == (1000,)


def test_units_are_for_random_weights(network):
    path = network()[1]
    assert "units must be at least 1 and requires weights=random" in refusal(
        f"alexnet/fc6:weights={path},units=24"
    )
    assert "at least 1" in refusal("alexnet/fc6:weights=random,units=-1")


def test_the_logarithm_of_probabilities_is_standardised(tap):
    assert tap("probabilities").log_floor == 1e-6
    assert tap("fc8").log_floor == tap("conv5").log_floor == 0


@pytest.mark.slow
def test_the_logarithm_of_an_applications_probabilities_is_standardised():
    assert features.get("mobilenet_v2/predictions:weights=random").log_floor == 1e-6


def test_a_sequential_model_and_one_of_any_size(folder):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Conv2D(4, 3, name="first"), keras.layers.Conv2D(5, 3, name="second")]
    sequential = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    inputs = keras.Input((None, None, 3))
    free = keras.Model(inputs, layers[1](layers[0](inputs)))
    pixels = np.random.default_rng(0).random((2, 20, 20, 3), np.float32)
    for name, model, side in (("sequential", sequential, 32), ("free", free, 20)):
        save(model, folder / f"{name}.keras")
        feature = features.get(f"keras/first:model={folder / name}.keras", image_shape=(20, 20, 3))
        resized = tf.image.resize(pixels, (side, side))
        np.testing.assert_allclose(feature(pixels), layers[0](resized), atol=1e-5)


def test_nested_model(folder):
    inner_input = keras.Input((16, 16, 3))
    inner = keras.Model(inner_input, keras.layers.Conv2D(2, 3)(inner_input), name="inner")
    inputs = keras.Input((16, 16, 3))
    outer = keras.Model(inputs, keras.layers.Flatten(name="flat")(inner(inputs)))
    save(outer, folder / "outer.keras")
    assert "cannot be truncated after layer inner" in refusal(
        f"keras/inner:model={folder / 'outer.keras'}"
    )
    assert features.get(f"keras/flat:model={folder / 'outer.keras'}").spec.shape == (392,)


def test_unknown_weights():
    message = refusal("alexnet/conv1:weights=nowhere.pth")
    assert message.startswith("no such AlexNet weights; give one of compact, torchvision, lpips")


@pytest.mark.parametrize("shape", [(64, 64, 1), (64, 64), (64,), (0, 64, 3), (64, 64, 4)])
def test_images_that_are_not_rgb(network, own, shape):
    for name in (f"alexnet/conv1:weights={network()[1]}", f"keras/grid:model={own[1]}"):
        assert "image_shape must be (height, width, 3)" in refusal(name, image_shape=shape)


def test_grids_are_standardised_by_channel_and_vectors_as_a_whole(tap, vector):
    grid = tap("conv5")
    assert (grid.standardize, grid.decoder) == ("channel", "convolutional")
    assert (vector.standardize, vector.decoder) == ("layer", "fully_connected")


def torchvision_input(images):
    return (images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def caffe_input(images):
    return images[..., ::-1] * 255 - [104, 117, 123]


@pytest.mark.parametrize(
    ("variant", "by_hand"), [("torchvision", torchvision_input), ("bvlc", caffe_input)]
)
@pytest.mark.parametrize("size", [(64, 64), (200, 150)])
def test_a_tap_resizes_and_normalises_as_the_network_was_trained(
    network, photos, variant, by_hand, size
):
    model, path = network(variant)
    images = tf.image.resize(photos[:2], size).numpy()
    feature = features.get(f"alexnet/conv5:weights={path}", image_shape=(*size, 3))
    seen = by_hand(resized(images, INPUT[variant])).astype(np.float32)
    expected = part_between(model, "preprocess", "pool5")(seen).numpy()
    np.testing.assert_allclose(feature(images), expected, atol=1e-4 * expected.max())
    assert feature.image_shape == (*size, 3)


def test_images_that_are_not_finite_or_not_in_the_range(vector, images):
    damaged = images.copy()
    damaged[1, 2, 3, 0] = np.nan
    with pytest.raises(tfinvert.InputError, match="images of alexnet/fc6 .* NaN or infinite"):
        vector(damaged)
    with pytest.raises(tfinvert.InputError, match="divide 8-bit values by 255"):
        vector(images * 255)


@pytest.mark.parametrize(
    "layer", ["fc6", *(pytest.param(layer, marks=pytest.mark.slow) for layer in ("fc8", "relu7"))]
)
def test_stem_and_tail_compose_to_the_feature(tap, images, layer):
    feature = tap(layer)
    stem, rest = feature.stem()
    assert (stem.name, stem.spec.shape) == ("alexnet/conv5", (2, 2, 256))
    np.testing.assert_allclose(rest(stem(images)), feature(images), rtol=1e-5, atol=1e-5)
    in_graph = tf.function(lambda x: rest(stem(x)))(images)
    np.testing.assert_allclose(in_graph, feature(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "options"), [("conv5", ""), ("pool5", ""), ("relu5", ""), ("conv5", "raw=true")]
)
def test_convolutions_are_their_own_stem(tap, images, layer, options):
    feature = tap(layer, options)
    stem, rest = feature.stem()
    assert stem is feature
    np.testing.assert_array_equal(rest(images), images)


def test_layers_with_the_same_stem_share_its_identity(tap, vector):
    identity = tap("conv5").stem().feature.identity()
    for feature in (vector, tap("fc7")):
        assert feature.stem().feature.identity() == identity
    assert vector.identity() != identity


def test_identity_depends_on_weights_but_not_on_their_path(network, folder, images):
    model, path = network()
    other = folder / "elsewhere.safetensors"
    shutil.copy(path, other)
    names = [f"alexnet/conv2:weights={x}" for x in (path, other)]
    first, second = (features.get(name).identity() for name in names)
    assert first == second == json.loads(json.dumps(first))
    layers = layers_of(model)
    kernel = layers["conv2"][0].copy()
    kernel[0, 0, 0, 0] += 1e-3
    weights.save(
        other, Weights("torchvision", {**layers, "conv2": (kernel, layers["conv2"][1])}, 95)
    )
    assert features.get(names[1]).identity() != first
    assert features.get(names[0], image_shape=(64, 72, 3)).identity() != first
    assert features.get(f"{names[0]},input_size=96").identity() != first


@pytest.mark.parametrize(
    ("layer", "options"), [("fc7", ""), ("conv1", "raw=true,input_size=70,variant=torchvision")]
)
def test_description_rebuilds_the_tap(tap, images, layer, options):
    feature = tap(layer, options)
    description = json.loads(json.dumps(features.describe(feature)))
    again = features.from_description(description)
    np.testing.assert_array_equal(again(images), feature(images))
    assert features.describe(again) == description
    assert description["config"]["image_shape"] == [64, 64, 3]


def test_options_with_and_without_quotes(network, images):
    path = network()[1]
    plain = features.get(f"alexnet/conv1:weights={path},variant=torchvision")
    quoted = features.get(f'alexnet/conv1:weights={json.dumps(str(path))},variant="torchvision"')
    assert quoted.get_config() == plain.get_config()
    assert plain.get_config()["weights"] == str(path)
    np.testing.assert_array_equal(quoted(images), plain(images))
    assert features.get("alexnet/conv1", weights=str(path)).get_config()["weights"] == str(path)


@pytest.mark.parametrize(
    "option", ["input_size=big", "input_size=6.5", "raw=yes", "size=63", 'weights="x', "raw"]
)
def test_invalid_option(option):
    assert refusal(f"alexnet/conv1:{option}") == (
        "invalid options of alexnet/conv1; the options are "
        'alexnet/conv1:weights="compact",variant="",'
        f"input_size=0,raw=false,units=0. Received: {option}"
    )


def test_names_and_unknown_names():
    assert {"alexnet/LAYER", "keras/LAYER", "hog"} <= {*features.names()}
    for name in ("mobilenet_v9/block_1", "alexnet", "alexnet/", "mobilenet_v2", "/conv1"):
        message = refusal(name)
        assert message.startswith(f"unknown feature {name!r}; choose one of ")
        assert ", ".join(features.names()) in message
        assert message.endswith(
            "or a layer of a keras.applications model, such as mobilenet_v2/LAYER"
        )


@pytest.mark.parametrize("layer", ["grid", "normalised", "vector"])
def test_layer_of_a_file_equals_the_models(own, images, layer):
    model, path = own
    feature = features.get(f"keras/{layer}:model={path},preprocessing=tf")
    expected = truncate(model, layer)(2 * resized(images, 32) - 1)
    np.testing.assert_allclose(feature(images), expected, atol=1e-5)
    again = features.from_description(features.describe(feature))
    np.testing.assert_array_equal(again(images), feature(images))
    assert again.identity() == feature.identity()
    assert not feature.portable


def test_layer_with_neither_grid_nor_vector_output(own):
    assert refusal(f"keras/rows:model={own[1]}").startswith(
        "keras/rows outputs 7 tokens, which with zero or one before the patch tokens do not form a "
        "grid for an input of 32×32 pixels"
    )


def test_a_layer_of_several_outputs(folder):
    inputs = keras.Input((32, 32, 3))
    rows = keras.layers.Reshape((32, 96))(inputs)
    last, _ = keras.layers.GRU(5, return_state=True, name="gru")(rows)
    save(keras.Model(inputs, last), folder / "gru.keras")
    assert "outputs values of shape" in refusal(f"keras/gru:model={folder / 'gru.keras'}")


def test_mobilenet_v3_is_an_application():
    said = refusal("mobilenet_v3_small/none:weights=random,input_size=64")
    assert said.startswith("mobilenet_v3_small/none: no layer 'none'; choose one of ")


def test_unknown_layer_or_preprocessing_of_a_file(own):
    path = own[1]
    assert refusal(f"keras/conv:model={path}") == (
        "keras/conv: no layer 'conv'; choose one of grid, normalised, rows, flat, dropped, vector"
    )
    message = refusal(f"keras/grid:model={path},preprocessing=imagenet")
    assert message.startswith("unknown preprocessing; choose one of unit, bytes, tf, torch")


def test_model_without_rgb_input(folder):
    inputs = keras.Input((8, 8, 1))
    path = folder / "grey.keras"
    save(keras.Model(inputs, keras.layers.Conv2D(2, 3, name="c")(inputs)), path)
    message = refusal(f"keras/c:model={path}")
    assert message.startswith("keras/c needs a model of RGB images [H, W, 3]. Received:")


def test_code_in_a_file_is_rejected_and_not_run(tmp_path):
    ran = tmp_path / "ran"
    inputs = keras.Input((8, 8, 3))
    code = eval(f"lambda x: (__import__('pathlib').Path({str(ran)!r}).touch(), x)[1]")
    x = keras.layers.Lambda(code, output_shape=(8, 8, 3), name="code")(inputs)
    path = tmp_path / "code.keras"
    save(keras.Model(inputs, keras.layers.Conv2D(2, 3, name="c")(x)), path)
    message = refusal(f"keras/c:model={path}")
    assert message.startswith(f"{path} is not a readable .keras model: ") and "Lambda" in message
    assert not ran.exists()
    keras.models.load_model(path, compile=False, safe_mode=False)(np.zeros((1, 8, 8, 3)))
    assert ran.exists()  # Keras itself runs the code without safe_mode


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_damaged_file(own, tmp_path, share):
    data = pathlib.Path(own[1]).read_bytes()
    path = tmp_path / "damaged.keras"
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(f"keras/grid:model={path}").startswith(f"{path} is not a readable .keras model")


def test_no_such_file(tmp_path):
    assert refusal("keras/grid") == "keras/grid needs model=FILE.keras. Received: none"
    assert refusal("keras/grid:model=x.keras").endswith("model=FILE.keras. Received: x.keras")
    assert refusal(f"keras/grid:model={tmp_path}").endswith(f"Received: {tmp_path}")
    (tmp_path / "old.h5").touch()
    assert refusal(f"keras/grid:model={tmp_path}/old.h5").endswith(
        f"FILE.keras. Received: {tmp_path}/old.h5"
    )


@pytest.fixture(scope="module")
def mobilenet():
    keras.utils.set_random_seed(3)
    return features.get(MOBILENET)


def check_application(tap, images, module, name, layer):
    """Compares a tap with random weights with the layer of the Keras model."""
    keras.utils.set_random_seed(0)
    application = getattr(keras.applications, module)
    model = getattr(application, name)(weights=None, include_top=False, input_shape=(64, 64, 3))
    inputs = application.preprocess_input(255 * images)
    expected = truncate(model, layer)(inputs, training=False)
    np.testing.assert_allclose(tap(images), expected, atol=1e-5)


def test_layer_of_an_application_equals_the_keras_model(mobilenet, images):
    check_application(mobilenet, images, "mobilenet_v2", "MobileNetV2", "block_1_expand_relu")
    assert mobilenet.name == "mobilenet_v2/block_1_expand_relu"


@pytest.mark.slow
def test_layer_of_another_application_equals_the_keras_model(images):
    layer = "convnext_tiny_downsampling_block_0"
    tap = features.get(f"convnext_tiny/{layer}:weights=random,input_size=64")
    check_application(tap, images, "convnext", "ConvNeXtTiny", layer)
    assert tap.name == f"convnext_tiny/{layer}"


def test_random_applications_do_not_depend_on_seeds_or_on_models_built_before(mobilenet):
    assert features.get(MOBILENET).identity() == mobilenet.identity()


def test_applications_that_cannot_be_built():
    message = refusal("mobilenet_v2/block_1_expand_relu:weights=nowhere.h5,input_size=64")
    assert message.startswith("cannot build mobilenet_v2: ")
    message = refusal("mobilenet_v2/x:weights=random,input_size=-5")
    assert message.startswith("cannot build mobilenet_v2: ")
