"""The GPU programs, which run on JAX without TensorFlow, on a CPU, in a process of their own."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import collect
import numpy as np
import pytest
from PIL import Image

from tfinvert import features, load
from tfinvert.common.files import read_arrays
from tfinvert.networks import inversion

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tools" / "gpu"
SIZE = 32

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)

ON_JAX = """
import on_jax, pathlib, runpy, sys
import collect, jax, numpy as np, photograph_arrays, photographs, sift_views, teach_head, views
import jax.numpy as jnp
from tfinvert import features
from tfinvert.common.files import read_arrays
from tfinvert.networks import inversion

photographs.write("photos", sorted(pathlib.Path("images").iterdir()), 40, 344)
flags = "--feature=hog --data=photos --size=32 --min_crop=0.8 --batch=2 --width=0.05 --steps=3"
sys.argv[2:] = [*flags.split(), "--output=hog.npz"]
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    assert not ended.code

given = dict(np.load("given.npz"))
images = jnp.asarray(given["images"])
results = {}
for name in ("hog", "lbp:cell_size=8"):
    feature = features.get(name, image_shape=images.shape[1:])
    results[name] = jax.jit(feature.compute)(images)
hog = features.get("hog", image_shape=images.shape[1:])
network = inversion.build(hog, width=0.05)
for variable in network.weights:
    variable.assign(given[variable.path])
results["network"] = network(results["hog"])
arrays = read_arrays("hog.npz")
inverter = collect.inverter_of(arrays)
results["rebuilt"] = inverter.network(inverter.standardization(results["hog"]))

sift = features.get("sift", image_shape=images.shape[1:])
grids = np.asarray(sift.compute(np.asarray(images)))
sparse = [sift_views.sparse(grid, 40) for grid in grids]
parts = dict(zip(sift_views.NAMES[1:], map(np.stack, zip(*sparse))))
results["sift"] = views.sift_grids(parts | {"views": given["images"]})
results["sift_before"] = grids

cut = views.Cut(16, min_crop=1.0)
photographs = views.on_device(photograph_arrays.load("photos"))
cut_views = jax.jit(lambda key, data: views.batch(key, data, 8, cut)[0])
results["views"] = cut_views(jax.random.key(0), {"photographs": photographs})

kept = jnp.asarray(given["images"][:, 0, :, 0], jnp.float16), jnp.eye(len(images), 5)
head = teach_head.fresh(images.shape[1], (8, 8, 5))
_, results["steps"] = teach_head.fit(head, kept, 0.01, 1e-3)
np.savez("results.npz", **results)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    """A folder with the programs' results, and images to compare them on."""
    folder = tmp_path_factory.mktemp("gpu")
    images = np.ascontiguousarray(photos[:4, :SIZE, :SIZE])
    feature = features.get("hog", image_shape=images.shape[1:])
    network = inversion.build(feature, width=0.05)
    for i, variable in enumerate(network.weights):  # also those initialised to zero
        draws = np.random.default_rng(i).normal(0, 0.1, variable.shape)
        variable.assign(draws.astype(np.float32))
    given = {variable.path: variable.numpy() for variable in network.weights}
    np.savez(folder / "given.npz", images=images, **given)
    np.save(folder / "expected.npy", network(feature(images)).numpy())
    (folder / "images").mkdir()
    for i, photo in enumerate((photos[:4] * 255).astype(np.uint8)):
        cropped = photo[:, :48] if i % 2 else photo[:48]  # tall, wide
        Image.fromarray(cropped).save(folder / "images" / f"{i}.png")
    # One process for all programs, as starting and compiling dominate the time.
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(PROGRAMS), *sys.path[1:]]),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "KERAS_BACKEND": "jax",
    }
    command = [sys.executable, "-c", ON_JAX, PROGRAMS / "train.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return read_arrays(folder / "results.npz")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hog", "lbp:cell_size=8"])
def test_features_on_jax_are_those_of_tensorflow(folder, results, name):
    images = np.load(folder / "given.npz")["images"]
    feature = features.get(name, image_shape=images.shape[1:])
    np.testing.assert_allclose(results[name], feature(images), atol=1e-4)


@pytest.mark.slow
def test_a_network_on_jax_gives_the_images_of_tensorflow(folder, results):
    np.testing.assert_allclose(results["network"], np.load(folder / "expected.npy"), atol=1e-4)


@pytest.mark.slow
def test_an_inverter_trained_on_jax_gives_the_same_reconstructions(folder, results, tmp_path):
    arrays = read_arrays(folder / "hog.npz")
    made = json.loads(str(arrays["made"]))
    assert made["steps"] == 3 and made["training_images_per_second"] >= 0 and made["device"]
    inverter = collect.inverter_of(arrays)
    inverter.save(tmp_path / "hog", "float16")
    inverter = load(tmp_path / "hog")
    assert inverter.card == made
    images = np.load(folder / "given.npz")["images"]
    expected = np.clip(results["rebuilt"], 0, 1)
    assert expected.std() > 0.01
    np.testing.assert_allclose(inverter.reconstruct(images), expected, atol=1e-4)


@pytest.mark.slow
def test_arrays_of_other_programs_are_refused(folder):
    arrays = read_arrays(folder / "hog.npz")
    with pytest.raises(collect.InputError, match="train.py"):
        collect.inverter_of({})
    del arrays["network/first/kernel"]
    with pytest.raises(collect.InputError, match="no network/first/kernel"):
        collect.inverter_of(arrays)


@pytest.mark.slow
def test_sift_is_rebuilt_from_its_occupied_cells(results):
    np.testing.assert_allclose(results["sift"], results["sift_before"], atol=2e-3)
    assert results["sift"].any()


@pytest.mark.slow
def test_views_are_crops_of_the_photographs(folder, results):
    views = results["views"]
    assert views.shape == (8, 16, 16, 3) and views.min() >= 0 and views.max() <= 1
    extents = np.load(folder / "photos" / "extents.npy")
    assert sorted(extents[:, 2]) == [0, 0, 1, 1] and set(extents[:, 0]) == {40}
    pixels = np.load(folder / "photos" / "pixels.npy").astype(np.float32) / 255
    assert abs(views.mean() - pixels.mean()) < 0.2


@pytest.mark.slow
def test_the_head_is_trained(results):
    assert results["steps"] > 0


@pytest.mark.parametrize("program", ["photographs", "sift_views", "train", "teach_head", "collect"])
def test_flags_in_the_document_are_flags_of_the_programs(program):
    source = (PROGRAMS / f"{program}.py").read_text(encoding="utf-8")
    known = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source))
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(rf"python tools/gpu/{program}\.py([^`\n]*)", text)
    if program == "train":  # those in the table and in shell variables
        commands += re.findall(r"`(--feature[^`]*)`|^\w+=\"(--[^\"]*)\"", text, re.MULTILINE)
    used = set(re.findall(r"--(\w+)", str(commands)))
    assert used and used <= known
