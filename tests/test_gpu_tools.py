"""The GPU programs, which run on JAX without TensorFlow, on a CPU, in a process of their own."""

import importlib.util
import json
import pathlib
import re

import collect
import numpy as np
import pytest
from PIL import Image

from tests.programs import run_on_jax
from tfinvert import Inverter, features, load
from tfinvert.common.files import read_arrays
from tfinvert.features.standardization import Standardization
from tfinvert.networks import inversion

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tools" / "gpu"
SIZE = 32

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)

ON_JAX = """
import sys

class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ImportError("TensorFlow is not installed")

sys.meta_path.insert(0, NoTensorFlow())
import pathlib, runpy
import jax, numpy as np, photograph_arrays, photographs, sift_views, teach_head, train, views
import jax.numpy as jnp
from tfinvert import features, load

photographs.write("photos", sorted(pathlib.Path("images").iterdir()), 40, 344)
flags = "--feature=hog --data=photos --size=32 --min_crop=0.8 --batch=2 --width=0.05 --steps=3"
sys.argv[2:] = [*flags.split(), "--output=hog"]
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    assert not ended.code

given = dict(np.load("given.npz"))
images = jnp.asarray(given["images"])
results = {}
inverter = load("hog")
results["rebuilt"] = inverter.reconstruct(given["images"])
common = {"feature": "hog", "data": "photos", "size": 32, "batch": 2, "width": 0.05}
common |= {"network": "paper", "precision": "float32"}
for name, more in {
    "losses": {"loss": "mse,ssim,adversarial:0.1", "uncertainty": "joint", "held_out": 2},
    "head": {"uncertainty": "frozen", "held_out": 2, "init_from": "losses"},
}.items():
    train.run(train.Settings(**common | more), 2).save(name)
del common["network"]
sampler = train.Settings(**common | {"init_from": "hog", "train_sampler": True})
train.run(sampler, 0, 1e-6).save("sampler")

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
    np.savez(folder / "given.npz", images=images)
    (folder / "images").mkdir()
    for i, photo in enumerate((photos[:4] * 255).astype(np.uint8)):
        cropped = photo[:, :48] if i % 2 else photo[:48]  # tall, wide
        Image.fromarray(cropped).save(folder / "images" / f"{i}.png")
    # One process for all programs, as starting and compiling dominate the time.
    run_on_jax("-c", ON_JAX, PROGRAMS / "train.py", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return read_arrays(folder / "results.npz")


@pytest.mark.slow
def test_an_inverter_trained_on_jax_gives_the_same_reconstructions(folder, results):
    inverter = load(folder / "hog")
    made = inverter.card
    assert made["steps"] == 3 and made["training_images_per_second"] >= 0 and made["device"]
    images = np.load(folder / "given.npz")["images"]
    assert results["rebuilt"].std() > 0.01
    np.testing.assert_allclose(inverter.reconstruct(images), results["rebuilt"], atol=1e-4)


@pytest.mark.slow
def test_other_losses_heads_and_samplers_are_trained(folder):
    images = np.load(folder / "given.npz")["images"]
    losses, head, sampler = (load(folder / name) for name in ("losses", "head", "sampler"))
    for inverter in (losses, head):
        assert (inverter.uncertainty(inverter.encode(images)) > 0).all()
    for a, b in zip(losses.network.get_weights(), head.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)  # frozen
    assert np.any(
        losses.uncertainty_head.head.get_weights()[0] != head.uncertainty_head.head.get_weights()[0]
    )
    assert sampler.sample(sampler.encode(images), 2).shape == (4, 2, SIZE, SIZE, 3)
    assert 0 < sampler.flow.residual_std < 1


@pytest.fixture
def old_arrays(untrained_hog):
    """What train.py wrote up to version 0.3."""
    inverter, width = untrained_hog
    made = {"feature": "hog", "size": SIZE, "train_encoder": False, "output_size": 0}
    made |= {"width": width, "units": 0, "network": inversion.DEFAULT}
    arrays = {f"network/{v.path}": v.numpy() for v in inverter.network.trainable_variables}
    arrays |= {f"feature/{k}": getattr(inverter.standardization, k) for k in ("mean", "scale")}
    return arrays | {"made": np.array(json.dumps(made))}


@pytest.fixture(scope="module")
def untrained_hog(photos):
    """An inverter with random weights, and the width of its network."""
    width = 0.05
    hog = features.get("hog", image_shape=(SIZE, SIZE, 3))
    standardization = Standardization.measure(hog, [hog(photos[:4, :SIZE, :SIZE])])
    return Inverter(hog, standardization, inversion.build(hog, width=width)), width


def test_arrays_of_earlier_versions_are_converted(old_arrays, untrained_hog, photos):
    inverter, images = untrained_hog[0], photos[:2, :SIZE, :SIZE]
    converted = collect.inverter_of(old_arrays)
    assert converted.card["network"] == inversion.DEFAULT
    np.testing.assert_allclose(
        converted.reconstruct(images), inverter.reconstruct(images), atol=1e-6
    )


def test_arrays_of_other_programs_are_refused(old_arrays):
    with pytest.raises(collect.InputError, match=r"train\.py"):
        collect.inverter_of({})
    del old_arrays["network/first/kernel"]
    with pytest.raises(collect.InputError, match="no network/first/kernel"):
        collect.inverter_of(old_arrays)


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
