"""LPIPS against golden values of the package that defines it, and rejected weight files.

`lpips_golden.npz` was computed once with the class LPIPS of lpips 0.1.4 (`net="alex"`, version
0.1, `normalize=True`) on PyTorch 2.14.1. Its trunk was torchvision's AlexNet with the convolutions
that ship here, so that their rounding to float16 has no effect. Images are uint8: crops of
scikit-image's astronaut and coffee, compared with themselves with noise, in blocks of 4×4, shifted
by 2 pixels, at half the brightness, and with a black image; `parts` are the summands of the five
layers.
"""

import hashlib
import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tfinvert import InputError
from tfinvert.metrics.lpips import LPIPS, layer_distance, lpips
from tfinvert.networks.weights.lpips import SHIPPED_FILE, read_channel_weights

GOLDEN = dict(np.load(pathlib.Path(__file__).with_name("lpips_golden.npz")))


def pair(prefix):
    return [GOLDEN[f"{prefix}{name}"].astype(np.float32) / 255 for name in ("images", "others")]


@pytest.mark.parametrize("prefix", ["", "small_"])
def test_distances_are_those_of_the_published_package(prefix):
    images, others = pair(prefix)
    measure = LPIPS(images.shape[1:3])
    expected = GOLDEN[f"{prefix}distances"]
    assert expected.min() > 0.005
    np.testing.assert_allclose(measure(images, others), expected, atol=1e-4)
    layers = zip(
        measure.layers(images), measure.layers(others), measure.channel_weights, strict=True
    )
    parts = np.stack([layer_distance(*each) for each in layers], 1)
    np.testing.assert_allclose(parts, GOLDEN[f"{prefix}parts"], atol=1e-4)
    assert lpips(images, others) == pytest.approx(expected.mean(), abs=1e-4)


def test_an_image_has_no_distance_to_itself_and_finite_gradients():
    images, others = (tf.constant(x) for x in pair("small_"))
    measure = LPIPS(images.shape[1:3])
    np.testing.assert_allclose(measure(images, images), 0, atol=1e-7)
    for other in (images, others):  # the last one is black
        with tf.GradientTape() as tape:
            tape.watch(other)
            distance = measure(images, other)
        assert np.isfinite(tape.gradient(distance, other)).all()


def test_the_distance_of_a_layer_equals_that_of_a_loop():
    random = np.random.default_rng(0)
    values, others = random.standard_normal((2, 2, 3, 4, 5)).astype(np.float32)
    values[0, 0, 0] = 0
    weights = random.random(5).astype(np.float32)

    def loop_distance(one, other, weights):
        places = []
        for i, j in np.ndindex(3, 4):
            a, b = (x[i, j] / max(np.linalg.norm(x[i, j]), 1e-10) for x in (one, other))
            places.append((weights * (a - b) ** 2).sum())
        return np.mean(places)

    for channel_weights in (weights, None):
        used = np.ones(5) if channel_weights is None else channel_weights
        expected = [loop_distance(a, b, used) for a, b in zip(values, others, strict=True)]
        np.testing.assert_allclose(
            layer_distance(values, others, channel_weights), expected, rtol=1e-5
        )
    vectors = [np.float32([[3, 4], [0, 0]]), np.float32([[4, 3], [0, 2]])]
    np.testing.assert_allclose(layer_distance(*vectors), [0.08, 1.0], rtol=1e-6)


def test_smaller_images_are_rejected():
    images = np.zeros((1, 40, 30, 3), np.float32)
    with pytest.raises(InputError, match="at least 31×31 pixels. Received: 40×30"):
        lpips(images, images)


def test_the_card_describes_the_shipped_weights():
    card = json.loads(SHIPPED_FILE.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["sha256"] == hashlib.sha256(SHIPPED_FILE.read_bytes()).hexdigest()
    assert "Redistribution and use" in " ".join(card["licence"]["text"])
    assert [len(weights) for weights in read_channel_weights()] == [64, 192, 384, 256, 256]


def test_other_files_are_rejected_in_one_line(tmp_path):
    good = safetensors.numpy.load_file(SHIPPED_FILE)
    name = "lin2.model.1.weight"
    wrong = {
        "lacking.safetensors": {key: value for key, value in good.items() if key != name},
        "short.safetensors": good | {name: good[name][:, :3]},
        "negative.safetensors": good | {name: -good[name]},
        "infinite.safetensors": good | {name: np.full_like(good[name], np.inf)},
    }
    for file, tensors in wrong.items():
        safetensors.numpy.save_file(tensors, tmp_path / file)
    (tmp_path / "cut.safetensors").write_bytes(SHIPPED_FILE.read_bytes()[:-9])
    (tmp_path / "large.safetensors").write_bytes(bytes(1 << 21))
    for file in [*wrong, "cut.safetensors", "large.safetensors", "missing.safetensors"]:
        with pytest.raises(InputError, match=file) as caught:
            read_channel_weights(tmp_path / file)
        assert "\n" not in str(caught.value)
