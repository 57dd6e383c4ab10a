"""Opening sources by `--data` values."""

import pytest
from PIL import Image

from tfinvert import InputError
from tfinvert.data import tfds as tfds_source
from tfinvert.data.folder import ImageFolder
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.open_source import SOURCE_FORMATS, open_source
from tfinvert.data.photos import Photos


def test_photos():
    source = open_source("photos", "validation")
    assert isinstance(source, Photos)
    assert source.name == "photos"
    assert len(source) < len(open_source("photos"))


def test_folder(tmp_path):
    root = tmp_path / "a:b"  # only the first colon divides
    root.mkdir()
    for name in ("x.png", "y.png", "z.png"):
        Image.new("RGB", (2, 2)).save(root / name)
    source = open_source(f"folder:{root}")
    assert isinstance(source, ImageFolder)
    assert source.name == f"folder:{root}"
    assert len(source) == 3
    assert len(open_source(f"folder:{root}", "validation")) == 2


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "photos" / "x.png")
    assert len(open_source("folder:~/photos")) == 1
    assert open_source("mix:1:folder:~/photos+1:folder:~").evaluation_size == 2


def test_tfds(monkeypatch):
    monkeypatch.setattr(tfds_source, "TfdsSource", lambda *arguments: arguments)
    assert open_source("tfds:mnist") == ("mnist", "all", None)
    cache = DecodedImageCache()
    assert open_source("tfds:a/b:1.0.0", "training", cache) == ("a/b:1.0.0", "training", cache)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "photo",
        "Photos",
        "photos:x",
        "folder",
        "folder:",
        "tfds",
        "tfds:",
        "/tmp",
        "a\nb",
        "x:y",
    ],
)
def test_invalid_data_value(data):
    with pytest.raises(InputError) as caught:
        open_source(data)
    assert SOURCE_FORMATS in str(caught.value)
    assert repr(data) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", ["folder:/no/such/folder", "tfds:no_such_data_set"])
def test_unavailable_source(data):
    with pytest.raises(InputError) as caught:
        open_source(data)
    assert data.partition(":")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_split():
    with pytest.raises(InputError, match="training, validation, all. Received: 'test'"):
        open_source("photos", "test")
