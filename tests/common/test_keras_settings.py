"""Keras' global settings, which have no effect on what the package loads, builds and computes."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.untrained import build_tiny_inverter
from tfinvert.common.backend import default_settings
from tfinvert.metrics.evaluation import score_reconstructions
from tfinvert.networks import inversion

ROOT = pathlib.Path(__file__).parents[2]
FLOATX, FORMAT = "float16", "channels_first"


def current():
    config = keras.config
    names = config.floatx(), config.image_data_format(), config.dtype_policy().name
    return *names, config.epsilon()


@contextlib.contextmanager
def unusual_settings():
    policy, before = keras.config.dtype_policy(), current()
    keras.config.set_floatx(FLOATX)
    keras.config.set_image_data_format(FORMAT)
    keras.config.set_epsilon(0.1)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx(before[0])
        keras.config.set_image_data_format(before[1])
        keras.config.set_epsilon(before[3])


@pytest.fixture(scope="module")
def files(photos, tmp_path_factory):
    """A saved inverter and a photograph."""
    folder = tmp_path_factory.mktemp("files")
    build_tiny_inverter(photos).save(folder / "inverter")
    Image.fromarray(np.uint8(255 * photos[0])).resize((80, 70)).save(folder / "photo.png")
    return folder


def loaded(folder, photos):
    """What a loaded inverter and a network that is built consist of and compute."""
    inverter = tfinvert.load(folder / "inverter")
    found = {
        "file": inverter.reconstruct(folder / "photo.png"),
        "feature": np.asarray(inverter.feature(photos[:2])),
    }
    network = inversion.build(inverter.feature, width=0.125, network="paper")
    found["types"] = np.array(sorted({variable.dtype for variable in network.variables}))
    return found


def trained(folder, photos):
    """What is trained, scored, and computed at other sizes."""
    inverter = tfinvert.load(folder / "inverter")
    found = {
        "encode": inverter.encode(photos[:2]),
        "copy": inverter.at((128, 64)).reconstruct(folder / "photo.png"),
    }
    model = tfinvert.InversionModel("hog", image_size=64, network="paper", width=0.125)
    model.compile(loss="mse", optimizer="adam", warmup_steps=1)
    model.fit(photos[:8], batch_size=4, epochs=1, verbose=0)
    found |= {f"weight {i}": weight for i, weight in enumerate(model.network.get_weights())}
    found["predict"] = model.predict(photos[:2])
    found |= score_reconstructions(photos[:2], found["predict"])
    return found


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert np.asarray(found[name]).dtype == np.asarray(value).dtype


@pytest.mark.parametrize("compute", [loaded, pytest.param(trained, marks=pytest.mark.slow)])
def test_settings_of_the_process_have_no_effect(files, photos, compute):
    expected = compute(files, photos)
    with unusual_settings():
        before = current()
        found = compute(files, photos)
        assert current() == before
    assert_equal(found, expected)


def test_blocks_may_be_nested_and_threads_may_share_them():
    with unusual_settings():
        before, seen = current(), []
        barrier = threading.Barrier(4)

        def enter():
            keras.config.set_dtype_policy("mixed_bfloat16")
            with default_settings, default_settings:
                barrier.wait()
                seen.append(current())
            barrier.wait()
            seen.append(current()[2])

        threads = [threading.Thread(target=enter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        default = "float32", "channels_last", "float32", 1e-7
        assert seen.count(default) == seen.count("mixed_bfloat16") == 4
        assert current() == before


def test_an_error_restores_the_settings(tmp_path):
    with unusual_settings():
        before = current()
        with pytest.raises(tfinvert.InputError):
            tfinvert.load(tmp_path)
        assert current() == before


PROGRAM = """
import sys
import keras
import numpy as np
if sys.argv[3]:
    keras.config.set_dtype_policy(sys.argv[3])
import tfinvert
images = np.load(sys.argv[1])
found = {}
for name in ("lbp-64", "alexnet-conv3-64"):
    inverter = tfinvert.load(name)
    found[f"{name} features"] = inverter.encode(images)
    found[f"{name} images"] = inverter.reconstruct(images)
samples = tfinvert.load("hog-samples-64")
found["samples"] = samples.sample(images, 1, steps=2)
tap = tfinvert.features.get("mobilenet_v2/block_3_expand", weights="random")
found["application"] = np.asarray(tap(images))
np.savez(sys.argv[2], **found)
"""


def run_with(settings, policy, photos, folder):
    """What a new process computes with a configuration file and a global policy."""
    folder.mkdir()
    np.save(folder / "images.npy", photos[:2])
    (folder / "keras.json").write_text(json.dumps(settings))
    subprocess.run(
        [sys.executable, "-c", PROGRAM, folder / "images.npy", folder / "found.npz", policy],
        env=os.environ | {"KERAS_HOME": str(folder), "PYTHONPATH": str(ROOT)},
        check=True,
    )
    with np.load(folder / "found.npz") as file:
        return dict(file)


@pytest.mark.slow
def test_a_users_configuration_file_has_no_effect(photos, tmp_path):
    expected = run_with({}, "", photos, tmp_path / "plain")
    unusual = {"floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.01}
    found = run_with(unusual, "mixed_float16", photos, tmp_path / "half")
    assert_equal(found, expected)
    assert_equal(run_with({"floatx": "float64"}, "", photos, tmp_path / "double"), expected)
