"""KerasHub backbones with random weights as features, against the backbones themselves."""

import importlib.util
import json
import sys

import keras
import numpy as np
import pytest

from tfinvert import features
from tfinvert.errors import InputError

installed = importlib.util.find_spec("keras_hub") is not None
needs_hub = pytest.mark.skipif(not installed, reason="keras-hub, the extra hub, is not installed")

SIDE = 32
TOKENS = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2}
# Mean and standard deviation with which the published backbones normalise images.
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5] * 3, [0.5] * 3)


def build_backbone(kind):
    import keras_hub

    models = keras_hub.models
    keras.utils.set_random_seed(2)
    shape = (SIDE, SIDE, 3)
    if kind == "resnet":
        return models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 16],
            stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
        )
    if kind == "vit":
        return models.ViTBackbone(shape, 8, mlp_dim=32, **TOKENS)
    if kind == "dinov2":
        return models.DINOV2Backbone(
            8,
            intermediate_dim=32,
            num_register_tokens=4,
            image_shape=shape,
            position_embedding_shape=shape,
            **TOKENS,
        )
    tower = models.CLIPVisionEncoder(8, intermediate_dim=32, image_shape=shape, **TOKENS)
    text = models.CLIPTextEncoder(
        50, 16, 16, num_layers=1, num_heads=2, intermediate_dim=16, max_sequence_length=8
    )
    return models.CLIPBackbone(tower, text, projection_dim=8)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Returns (backbone, folder of its preset) of a kind."""
    presets = {}

    def preset(kind):
        if kind not in presets:
            folder = tmp_path_factory.mktemp(kind) / "preset"
            backbone = build_backbone(kind)
            backbone.save_to_preset(str(folder))
            presets[kind] = backbone, str(folder)
        return presets[kind]

    return preset


def tap(layer, folder, **options):
    options = {"image_shape": (SIDE, SIDE, 3)} | options
    return features.get(f"hub/{layer}", preset=folder, **options)


@needs_hub
@pytest.mark.parametrize(
    ("kind", "statistics", "grid", "before"),
    [
        pytest.param("resnet", IMAGENET, (4, 4, 16), None, marks=pytest.mark.slow),
        ("vit", HALF, (4, 4, 16), 1),
        pytest.param("dinov2", IMAGENET, (4, 4, 16), 5, marks=pytest.mark.slow),
        pytest.param("clip", CLIP, (4, 4, 16), 1, marks=pytest.mark.slow),
    ],
)
def test_output_equals_the_backbone(hub, kind, statistics, grid, before):
    backbone, folder = hub(kind)
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 3)).astype(np.float32)
    seen = (images - np.array(statistics[0])) / statistics[1]
    tower = getattr(backbone, "vision_encoder", backbone)
    named = {"images": seen.astype(np.float32)}
    true = tower(named if isinstance(tower.input, dict) else named["images"], training=False)
    true = keras.ops.convert_to_numpy(true)
    feature = tap("output", folder)
    assert feature.spec.shape == grid
    values = feature(images).numpy()
    if before is None:
        np.testing.assert_allclose(values, true, atol=1e-4)
        return
    np.testing.assert_allclose(values.reshape(2, 16, -1), true[:, before:], atol=1e-4)
    token = tap("output", folder, tokens="class")
    np.testing.assert_allclose(token(images), true[:, 0], atol=1e-4)


@needs_hub
@pytest.mark.slow
def test_blocks_by_name(hub):
    assert tap("stage1", hub("dinov2")[1]).spec.shape == (4, 4, 16)
    block = "clip_vision_encoder_encoder_block_0"
    assert tap(block, hub("clip")[1], tokens="class").spec.shape == (16,)


@needs_hub
def test_layers_by_name(hub):
    assert tap("P2", hub("resnet")[1]).spec.shape == (8, 8, 64)
    with pytest.raises(InputError, match="no layer 'P9'; choose one of .*conv"):
        tap("P9", hub("resnet")[1])


@needs_hub
@pytest.mark.slow
def test_other_sizes_and_random_weights(hub):
    folder = hub("dinov2")[1]
    other = tap("output", folder, input_size=48, image_shape=(40, 40, 3))
    assert other.spec.shape == (6, 6, 16)
    assert tap("output", hub("resnet")[1], image_shape=(64, 96, 3)).spec.shape == (8, 12, 16)
    random = [tap("output", folder, weights="random") for _ in range(2)]
    assert random[0].identity() == random[1].identity() != tap("output", folder).identity()
    assert features.from_description(features.describe(other)).identity() == other.identity()


@needs_hub
@pytest.mark.slow
def test_save_and_load(hub, tmp_path):
    feature = tap("stage1", hub("dinov2")[1])
    images = np.random.default_rng(0).random((1, SIDE, SIDE, 3)).astype(np.float32)
    feature.model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(images), feature(images), atol=1e-6)
    assert feature.trainable_copy().identity() == feature.identity()


@needs_hub
@pytest.mark.slow
def test_image_converter_of_the_preset(hub, tmp_path):
    import keras_hub

    backbone, _ = hub("vit")
    images = np.random.default_rng(0).random((1, SIDE, SIDE, 3)).astype(np.float32)
    converter = keras_hub.layers.ViTImageConverter(
        image_size=(SIDE, SIDE), scale=[1 / 255] * 3, offset=[0.0] * 3
    )
    backbone.save_to_preset(str(tmp_path / "v"))
    converter.save_to_preset(str(tmp_path / "v"))
    found = tap("output", str(tmp_path / "v"))
    given = tap("output", str(tmp_path / "v"), preprocessing="unit")
    other = tap("output", str(tmp_path / "v"), preprocessing="tf")
    np.testing.assert_array_equal(found(images), given(images))
    assert np.abs(found(images) - other(images)).max() > 1e-3
    path = tmp_path / "v" / "image_converter.json"
    config = json.loads(path.read_text())
    config["config"]["scale"] = [3.0] * 3
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="give preprocessing= one of unit, bytes"):
        tap("output", str(tmp_path / "v"))
    path.write_text("{")
    with pytest.raises(InputError, match="image converter of .* cannot be read"):
        tap("output", str(tmp_path / "v"))


@needs_hub
def test_invalid_presets(hub, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    for options, words in (
        ({"preset": ""}, "needs preset=FOLDER"),
        ({"preset": str(tmp_path / "nowhere")}, "cannot load the preset"),
        ({"preset": str(folder)}, "cannot load the preset"),
        ({"preset": hub("vit")[1], "weights": "imagenet"}, "weights=preset or random"),
        ({"preset": hub("vit")[1], "input_size": 33}, "input_size=33"),
        ({"preset": hub("vit")[1], "preprocessing": "vgg"}, "unknown preprocessing; choose one of"),
    ):
        with pytest.raises(InputError) as caught:
            features.get("hub/output", **options)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_missing_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"pip install tfinvert\[hub\]"):
        features.get("hub/output", preset="folder")
