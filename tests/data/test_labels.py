"""Classes and labels of sources: each label belongs to its image in any order."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tfinvert import InputError
from tfinvert.data.folder import ImageFolder
from tfinvert.data.open_source import open_source
from tfinvert.data.tfds import TfdsSource
from tfinvert.training.datasets import LabelledImageDataset
from tfinvert.training.settings import Settings

LABELS = np.random.default_rng(0).integers(0, 3, 40)


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 9, 3), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """A folder of three classes, in which an image's brightness is ten times its label."""
    for index in range(7):
        write(tmp_path / "b" / "deep" / f"{index}.png", 10)
    for index in range(5):
        write(tmp_path / "a" / f"{index}.png", 0)
        write(tmp_path / "c" / f"z{index}" / "image.png", 20)
    (tmp_path / "a" / "2.png").write_bytes(b"no image")
    return tmp_path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """TFDS data sets in which an image's brightness is ten times its label."""
    root = tmp_path_factory.mktemp("tfds")
    kinds = {
        "labelled": tfds.features.ClassLabel(names=["cat", "ant", "bee"]),
        "numbered": tfds.features.Scalar(np.int64),
        "hidden": tfds.features.ClassLabel(num_classes=3),
    }
    for name, kind in kinds.items():
        labels = np.where(np.arange(40) == 7, -1, LABELS) if name == "hidden" else LABELS
        images = np.broadcast_to(10 * LABELS[:, None, None, None], (40, 6, 9, 3)).astype(np.uint8)
        tfds.dataset_builders.store_as_tfds_dataset(
            name,
            "1.0.0",
            tfds.features.FeaturesDict(
                {"image": tfds.features.Image(shape=(6, 9, 3)), "label": kind}
            ),
            {"train": tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})},
            data_dir=root,
            disable_shuffling=True,
        )
    return root


@pytest.fixture
def prepared(root, monkeypatch):
    monkeypatch.setattr(tfds, "builder", functools.partial(tfds.builder, data_dir=root))


def check_streams(source, count):
    """Checks that labels match their images over several epochs and from any start step."""
    size = 5
    for seed, start in ((0, 0), (3, 0), (3, 2), (3, len(source) // size + 1)):
        settings = Settings(steps=1, batch_size=size, seed=seed)
        batches = LabelledImageDataset(source, (4, 4), settings).batches(start).take(count // size)
        assert batches.element_spec[1] == tf.TensorSpec((size,), tf.int64)
        for images, labels in batches.as_numpy_iterator():
            np.testing.assert_array_equal(np.round(images[:, 0, 0, 0] * 25.5), labels)
    assert source.evaluation_labels().dtype == np.int64
    drawn = [int(image[0, 0, 0]) // 10 for image in source.evaluation_images().as_numpy_iterator()]
    assert source.evaluation_labels().tolist() == drawn


def test_sub_folders_are_classes_and_unreadable_images_shift_no_labels(folder):
    source = ImageFolder(folder)
    assert source.classes == ["a", "b", "c"]
    assert source.evaluation_labels().tolist() == [0] * 4 + [1] * 7 + [2] * 5
    check_streams(source, 40)


def test_both_splits_of_a_folder_have_all_classes(folder):
    parts = [ImageFolder(folder, part) for part in ("training", "validation")]
    assert len(parts[1]) < 3
    for part in parts:
        assert part.classes == ["a", "b", "c"]
        check_streams(part, 30)


def test_images_outside_sub_folders_have_no_class(folder):
    write(folder / "stray.png", 0)
    for use in (lambda source: source.classes, lambda source: source.evaluation_labels()):
        with pytest.raises(InputError, match="no classes: some images are not in a sub-folder"):
            use(ImageFolder(folder))


@pytest.mark.slow
def test_tfds_labels_match_their_images(prepared):
    source = TfdsSource("labelled")
    assert source.classes == ["cat", "ant", "bee"]
    assert source.evaluation_labels().tolist() == LABELS.tolist()
    check_streams(source, 90)


@pytest.mark.parametrize("use", ["classes", "evaluation_labels"])
@pytest.mark.parametrize("name", ["photos", "tfds:numbered"])
def test_sources_without_classes(prepared, name, use):
    source = open_source(name)
    with pytest.raises(InputError, match=f"{name} has no classes; a classifier needs") as caught:
        getattr(source, use)()
    assert "\n" not in str(caught.value)


def test_images_with_hidden_classes(prepared):
    with pytest.raises(
        InputError, match="tfds:hidden: some images of the split 'train' have no class"
    ):
        TfdsSource("hidden").evaluation_labels()
