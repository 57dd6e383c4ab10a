"""Layers of Keras models as features: AlexNet's, any application's, those of a file."""

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

# The smallest inputs whose pool5 is 2×2, so that the order of flattening counts.
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
    """A variant's small random AlexNet, for images of its own input size, and its file."""
    made = {}

    def build(variant="torchvision"):
        if variant not in made:
            model = alexnet.build(variant, input_size=INPUT[variant], units=UNITS)
            random = np.random.default_rng(1)
            for layer in model.layers:
                if layer.weights:
                    kernel, bias = layer.get_weights()
                    layer.set_weights([kernel, random.normal(size=bias.shape, scale=0.1)])
            path = folder / f"{variant}.safetensors"
            weights.save(path, Weights(variant, layers_of(model), INPUT[variant]))
            made[variant] = model, path
        return made[variant]

    return build


@pytest.fixture
def tap(network):
    """A layer of the torchvision variant, of 64×64 images unless said otherwise."""

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
    """A small model of 32×32 images that sees -1 to 1, and its file."""
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


def upto(model, layer):
    return keras.Model(model.input, model.get_layer(layer).output)


def behind(model, layer, last):
    """What follows the preprocessing, to a layer."""
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
    ("torchvision", "conv2", "pool2"),
    ("torchvision", "conv3", "relu3"),
    ("torchvision", "conv4", "relu4"),
    ("torchvision", "conv5", "pool5"),
    ("torchvision", "fc6", "relu6"),
    ("torchvision", "fc7", "relu7"),
    ("torchvision", "fc8", "fc8"),
    ("torchvision", "probabilities", "prob"),
    ("caffenet", "conv1", "norm1"),
    ("caffenet", "conv2", "norm2"),
    ("bvlc", "conv1", "pool1"),
    ("bvlc", "conv2", "pool2"),
]


@pytest.mark.parametrize(("variant", "paper", "raw"), LAST)
def test_the_papers_names_are_the_last_processing_steps(network, images, variant, paper, raw):
    model, path = network(variant)
    side = INPUT[variant]
    feature = features.get(f"alexnet/{paper}:weights={path}", image_shape=(side, side, 3))
    enlarged = resized(images, side)
    expected = upto(model, raw)(enlarged)
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
def test_raw_layers_have_names_of_their_own(tap, options):
    assert tap("relu1", options).spec.shape == (23, 23, 64)
    assert tap("pool1", options).spec.shape == (11, 11, 64)


def test_raw_is_the_raw_layer_where_the_paper_has_one_of_that_name(tap, images):
    assert tap("conv5").spec.shape == (2, 2, 256)
    assert tap("conv5", "raw=true").spec.shape == (5, 5, 256)
    both = tap("fc6", "raw=true")(images), tap("fc6")(images)
    np.testing.assert_array_equal(np.maximum(both[0], 0), both[1])
    assert both[0].numpy().min() < 0


def test_an_unknown_layer_lists_those_there_are(network):
    name = f"alexnet/conv9:weights={network()[1]}"
    assert refusal(name) == (
        "no alexnet/conv9 here; there are conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8, "
        "probabilities and the raw layers conv1_pad, conv1, relu1, pool1, conv2, relu2, pool2, "
        "conv3, relu3, conv4, relu4, conv5, relu5, pool5, flatten, fc6, relu6, drop6, fc7, relu7, "
        "drop7, fc8, prob"
    )
    assert "there are conv1_pad, conv1, relu1" in refusal(f"{name},raw=true")
    assert "no alexnet/preprocess here" in refusal(f"alexnet/preprocess:weights={network()[1]}")


def test_fully_connected_layers_at_another_input_size_say_which_they_need(tap, network):
    assert tap("conv5", "input_size=63").spec.shape == (1, 1, 256)
    assert refusal(f"alexnet/fc6:weights={network()[1]},input_size=63").startswith(
        "no alexnet/fc6 here: fc6 takes 2×2 cells of conv5, as an input of 95 pixels gives; here "
        "there are 1×1; there are conv1, conv2, conv3, conv4, conv5 and the raw layers conv1"
    )
    # Of 95 to 126 pixels 2×2 cells are left, too.
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
    assert f"no alexnet/fc7 here: {path} ends with conv5; there are conv1" in refusal(
        f"alexnet/fc7:weights={path}"
    )


def test_a_file_that_says_no_input_size_is_of_the_published_one(network, folder):
    path = folder / "silent.safetensors"
    weights.save(path, Weights("torchvision", layers_of(network()[0])))
    assert features.get(f"alexnet/conv5:weights={path}").spec.shape == (6, 6, 256)
    message = refusal(f"alexnet/fc6:weights={path}")
    assert "fc6 takes 2×2 cells of conv5; here there are 6×6" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("variant=alexnet", "unknown AlexNet variant; choose one of caffenet, bvlc, torchvision. Rec"),
        ("input_size=62", "the input of AlexNet is too small: pool5 would be empty; 63×63 pixels"),
        ("input_size=-1", "the input of AlexNet is too small: conv1 would be empty; 63×63 pixels"),
        ("input_size=-300", "the input of AlexNet is too small: conv1 would be empty; 63×63"),
    ],
)
def test_a_network_that_cannot_be(options, message):
    assert refusal(f"alexnet/conv1:weights=random,{options}").startswith(message)


def test_random_weights_are_the_same_every_time_and_have_a_head_of_any_width(images):
    name = "weights=random,variant=caffenet,input_size=63"
    first, second = (features.get(f"alexnet/conv2:{name}") for _ in range(2))
    np.testing.assert_array_equal(first(images), second(images))
    assert np.std(first(images)) > 0
    assert features.get(f"alexnet/fc7:{name},units=24").spec.shape == (24,)
    assert features.get(f"alexnet/probabilities:{name},units=24").spec.shape == (1000,)


def test_units_are_for_random_weights(network):
    path = network()[1]
    assert "units are those of weights=random" in refusal(f"alexnet/fc6:weights={path},units=24")
    assert "at least 1" in refusal("alexnet/fc6:weights=random,units=-1")


def test_the_logarithm_of_probabilities_is_standardised(tap):
    assert tap("probabilities").log_floor == 1e-6
    assert tap("fc8").log_floor == tap("conv5").log_floor == 0
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


def test_a_model_in_a_model_is_refused_in_one_line(folder):
    inner_input = keras.Input((16, 16, 3))
    inner = keras.Model(inner_input, keras.layers.Conv2D(2, 3)(inner_input), name="inner")
    inputs = keras.Input((16, 16, 3))
    outer = keras.Model(inputs, keras.layers.Flatten(name="flat")(inner(inputs)))
    save(outer, folder / "outer.keras")
    assert "cannot be cut behind inner" in refusal(f"keras/inner:model={folder / 'outer.keras'}")
    assert features.get(f"keras/flat:model={folder / 'outer.keras'}").spec.shape == (392,)


def test_random_applications_are_the_same_every_time():
    assert features.get(MOBILENET).identity() == features.get(MOBILENET).identity()


def test_no_such_weights_lists_the_known():
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
    expected = behind(model, "preprocess", "pool5")(seen).numpy()
    np.testing.assert_allclose(feature(images), expected, atol=1e-4 * expected.max())
    assert feature.image_shape == (*size, 3)


def test_images_that_are_not_finite_or_not_floating_point(vector, images):
    damaged = images.copy()
    damaged[1, 2, 3, 0] = np.nan
    with pytest.raises(tfinvert.InputError, match="alexnet/fc6 takes images .* NaN or infinite"):
        vector(damaged)
    with pytest.raises(tfinvert.InputError, match="divide uint8 images by 255"):
        vector((images * 255).astype(np.uint8))


@pytest.mark.parametrize("layer", ["fc6", "fc8", "relu7"])
def test_a_stem_and_the_rest_are_the_feature(tap, images, layer):
    feature = tap(layer)
    stem, rest = feature.stem()
    assert (stem.name, stem.spec.shape) == ("alexnet/conv5", (2, 2, 256))
    np.testing.assert_allclose(rest(stem(images)), feature(images), rtol=1e-5, atol=1e-5)
    in_graph = tf.function(lambda x: rest(stem(x)))(images)
    np.testing.assert_allclose(in_graph, feature(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "options"), [("conv5", ""), ("pool5", ""), ("relu5", ""), ("conv5", "raw=true")]
)
def test_a_convolution_is_kept_whole(tap, images, layer, options):
    feature = tap(layer, options)
    stem, rest = feature.stem()
    assert stem is feature
    np.testing.assert_array_equal(rest(images), images)


def test_layers_with_the_same_stem_say_so(tap, vector):
    identity = tap("conv5").stem().feature.identity()
    for feature in (vector, tap("fc7")):
        assert feature.stem().feature.identity() == identity
    assert vector.identity() != identity


def test_an_identity_is_that_of_the_weights_and_not_of_their_path(network, folder, images):
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
def test_a_description_makes_the_tap_again(tap, images, layer, options):
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
def test_a_wrong_option_lists_the_accepted(option):
    assert refusal(f"alexnet/conv1:{option}") == (
        'alexnet/conv1 takes options as in alexnet/conv1:weights="compact",variant="",'
        f"input_size=0,raw=false,units=0. Received: {option}"
    )


def test_names_and_the_unknown():
    assert {"alexnet/LAYER", "keras/LAYER", "hog"} <= {*features.names()}
    for name in ("mobilenet_v9/block_1", "alexnet", "alexnet/", "mobilenet_v2", "/conv1"):
        message = refusal(name)
        assert message.startswith(f"unknown feature {name!r}; there are: ")
        assert ", ".join(features.names()) in message
        assert message.endswith("and layers of keras.applications models, as mobilenet_v2/LAYER")


@pytest.mark.parametrize("layer", ["grid", "normalised", "vector"])
def test_a_layer_of_a_file_is_that_of_the_model(own, images, layer):
    model, path = own
    feature = features.get(f"keras/{layer}:model={path},preprocessing=tf")
    expected = upto(model, layer)(2 * resized(images, 32) - 1)
    np.testing.assert_allclose(feature(images), expected, atol=1e-5)
    again = features.from_description(features.describe(feature))
    np.testing.assert_array_equal(again(images), feature(images))
    assert again.identity() == feature.identity()
    assert not feature.portable


def test_a_layer_that_is_neither_grid_nor_vector(own):
    assert refusal(f"keras/rows:model={own[1]}").startswith(
        "keras/rows gives 7 tokens, which with none or one before them are no grid of an input of "
    )


def test_a_layer_of_several_outputs(folder):
    inputs = keras.Input((32, 32, 3))
    rows = keras.layers.Reshape((32, 96))(inputs)
    last, _ = keras.layers.GRU(5, return_state=True, name="gru")(rows)
    save(keras.Model(inputs, last), folder / "gru.keras")
    assert "gives values of shape" in refusal(f"keras/gru:model={folder / 'gru.keras'}")


def test_mobilenet_v3_is_an_application_too():
    said = refusal("mobilenet_v3_small/none:weights=random,input_size=64")
    assert said.startswith("mobilenet_v3_small/none: no layer 'none'; there are: ")


def test_wrong_layers_and_preprocessings_of_a_file_list_the_right_ones(own):
    path = own[1]
    assert refusal(f"keras/conv:model={path}") == (
        "keras/conv: no layer 'conv'; there are: grid, normalised, rows, flat, dropped, vector"
    )
    message = refusal(f"keras/grid:model={path},preprocessing=imagenet")
    assert message.startswith("unknown preprocessing; choose one of unit, bytes, tf, torch")


def test_a_model_that_takes_no_rgb_images(folder):
    inputs = keras.Input((8, 8, 1))
    path = folder / "grey.keras"
    save(keras.Model(inputs, keras.layers.Conv2D(2, 3, name="c")(inputs)), path)
    message = refusal(f"keras/c:model={path}")
    assert message.startswith("keras/c: a tap takes a model of RGB images [H, W, 3]. Received:")


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
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
    assert ran.exists()  # elsewhere it runs


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_damaged_file(own, tmp_path, share):
    data = pathlib.Path(own[1]).read_bytes()
    path = tmp_path / "damaged.keras"
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(f"keras/grid:model={path}").startswith(f"{path} is not a readable .keras model")


def test_no_such_file(tmp_path):
    assert refusal("keras/grid") == "keras/grid takes model=FILE.keras. Received: none"
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


@pytest.mark.parametrize(
    ("layer", "family", "module", "name"),
    [
        ("block_1_expand_relu", "mobilenet_v2", "mobilenet_v2", "MobileNetV2"),
        ("convnext_tiny_downsampling_block_0", "convnext_tiny", "convnext", "ConvNeXtTiny"),
    ],
)
def test_a_layer_of_an_application_is_that_of_kerass_own_model(images, layer, family, module, name):
    tap = features.get(f"{family}/{layer}:weights=random,input_size=64")
    keras.utils.set_random_seed(0)
    application = getattr(keras.applications, module)
    model = getattr(application, name)(weights=None, include_top=False, input_shape=(64, 64, 3))
    seen = application.preprocess_input(255 * images)
    np.testing.assert_allclose(tap(images), upto(model, layer)(seen, training=False), atol=1e-5)
    assert tap.name == f"{family}/{layer}"


def test_an_identity_does_not_change_with_the_models_made_before(mobilenet):
    keras.utils.set_random_seed(3)
    assert features.get(MOBILENET).identity() == mobilenet.identity()


def test_applications_that_cannot_be_had():
    message = refusal("mobilenet_v2/block_1_expand_relu:weights=nowhere.h5,input_size=64")
    assert message.startswith("mobilenet_v2 cannot be had with weights=nowhere.h5 (imagenet, ")
    message = refusal("mobilenet_v2/x:weights=random,input_size=-5")
    assert message.startswith("mobilenet_v2 cannot be had with weights=random")
