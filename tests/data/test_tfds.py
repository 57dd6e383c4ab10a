"""TFDS data sets as image sources, on small data sets written by TFDS."""

import functools
import os
import socket

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfinvert import InputError
from tfinvert.data.augmentation import RandomAugmentation
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.pipeline import evaluation_batches, training_batches
from tfinvert.data.tfds import TfdsSource
from tfinvert.errors import Interrupted

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 9, 4), dtype=np.uint8)
DEEP = PIXELS[..., :1].astype(np.uint16) * 256 + 128


def image_features(key="image", **options):
    kind = tfds.features.Image(encoding_format="png", **options)
    return tfds.features.FeaturesDict({key: kind, "label": tfds.features.Scalar(np.int64)})


def examples(images, key="image"):
    return tf.data.Dataset.from_tensor_slices({key: images, "label": np.arange(len(images))})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A TFDS folder with small data sets, written by TFDS."""
    root = tmp_path_factory.mktemp("tfds")
    rgb = PIXELS[..., :3]
    made = {
        "colour": (image_features(shape=(None, None, 3)), {"train": rgb, "test": rgb[:5]}),
        "alone": (image_features(shape=(6, 9, 3)), {"train": rgb}),
        "grey": (image_features(shape=(6, 9, 1)), {"train": PIXELS[..., :1]}),
        "alpha": (image_features(shape=(6, 9, 4)), {"train": PIXELS}),
        "deep": (image_features(shape=(6, 9, 1), dtype=np.uint16), {"train": DEEP}),
        "other_key": (image_features("photo", shape=(6, 9, 3)), {"train": rgb}),
        "heldout": (image_features(shape=(6, 9, 3)), {"test": rgb}),
        "few": (image_features(shape=(6, 9, 3)), {"train": rgb[:3]}),
    }
    for name, (features, splits) in made.items():
        key = "photo" if name == "other_key" else "image"
        tfds.dataset_builders.store_as_tfds_dataset(
            name,
            "1.0.0",
            features,
            {split: examples(images, key) for split, images in splits.items()},
            data_dir=root,
            disable_shuffling=True,
        )
    tfds.dataset_builders.store_as_tfds_dataset(
        "numbers",
        "1.0.0",
        tfds.features.FeaturesDict({"x": tfds.features.Scalar(np.int64)}),
        {"train": tf.data.Dataset.from_tensor_slices({"x": np.arange(3)})},
        data_dir=root,
    )
    return root


@pytest.fixture(autouse=True)
def _prepared_and_offline(request, monkeypatch):
    def no_network(*_):
        raise OSError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    if "prepared" in request.fixturenames:
        root = request.getfixturevalue("prepared")
        monkeypatch.setattr(tfds, "builder", functools.partial(tfds.builder, data_dir=root))


def read(source):
    return np.stack(list(source.evaluation_images().as_numpy_iterator()))


def refusal(*arguments):
    with pytest.raises(InputError) as caught:
        TfdsSource(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_are_in_file_order(prepared):
    source = TfdsSource("colour")
    assert source.name == "tfds:colour"
    assert len(source) == source.evaluation_size == 40
    assert source.evaluation_images().element_spec.dtype == tf.uint8
    assert source.evaluation_images().element_spec.shape.as_list() == [None, None, 3]
    np.testing.assert_array_equal(read(source), PIXELS[..., :3])


def test_grey_images_fill_the_three_channels(prepared):
    np.testing.assert_array_equal(read(TfdsSource("grey")), PIXELS[..., [0, 0, 0]])


def test_16_bit_images_are_scaled(prepared):
    np.testing.assert_array_equal(read(TfdsSource("deep")), np.round(DEEP / 257).repeat(3, -1))


def test_transparent_images_are_composited_onto_white(prepared):
    alpha = PIXELS[..., 3:] / 255
    expected = PIXELS[..., :3] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(read(TfdsSource("alpha")), expected, atol=0.51)


def test_image_feature_of_another_name(prepared):
    np.testing.assert_array_equal(read(TfdsSource("other_key")), PIXELS[..., :3])


def test_the_test_split_is_held_out(prepared):
    assert len(TfdsSource("colour", "training")) == 40
    assert len(TfdsSource("colour", "validation")) == 5


def test_the_end_of_the_only_split_is_held_out(prepared):
    parts = [TfdsSource("alone", part) for part in ("training", "validation")]
    assert [len(part) for part in parts] == [38, 2]
    np.testing.assert_array_equal(np.concatenate([read(part) for part in parts]), PIXELS[..., :3])


def test_training_images_equal_the_files(prepared):
    source = TfdsSource("colour")
    drawn = [source.training_image(index) for index in range(len(source))]
    np.testing.assert_array_equal(drawn, PIXELS[..., :3])


def test_images_are_decoded_once_into_the_given_cache(prepared, monkeypatch):
    cache = DecodedImageCache()
    source = TfdsSource("colour", image_cache=cache)
    first = source.training_image(3)
    assert len(cache) == 40
    monkeypatch.setattr(source, "evaluation_images", None)
    assert source.training_image(3) is first


def test_identity_depends_on_split_and_files(prepared):
    identity = TfdsSource("colour").identity()
    assert TfdsSource("colour").identity() == identity
    assert TfdsSource("colour", "validation").identity() != identity
    assert TfdsSource("alone").identity() != identity
    record = next(prepared.glob("colour/**/*tfrecord*"))
    before = record.stat()
    os.utime(record, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert TfdsSource("colour").identity() != identity


def test_training_batches_start_at_any_step(prepared):
    source = TfdsSource("colour")
    unbroken = list(
        training_batches(source, RandomAugmentation((4, 6), 0.6), 7, seed=3)
        .take(13)
        .as_numpy_iterator()
    )
    resumed = training_batches(
        source, RandomAugmentation((4, 6), 0.6), 7, seed=3, start_step=5
    ).take(8)
    for one, two in zip(unbroken[5:], resumed.as_numpy_iterator(), strict=True):
        assert one.shape == (7, 4, 6, 3)
        np.testing.assert_array_equal(one, two)


def test_evaluation_batches(prepared):
    batches = list(evaluation_batches(TfdsSource("colour"), (6, 9), 16).as_numpy_iterator())
    assert [len(batch) for batch in batches] == [16, 16, 8]
    np.testing.assert_array_equal(np.concatenate(batches), PIXELS[..., :3].astype(np.float32) / 255)


@pytest.mark.parametrize(
    "name",
    [
        "no_such_data_set",
        "cifar10/no_such_config",
        "cifar10:9.9.9",
        "cifar10/no_such_option=1",
        "two words",
        "no_such_namespace:x",
    ],
)
def test_unknown_data_set(name):
    assert repr(name) in refusal(name)


def test_failed_download(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.core.download.downloader.MAX_RETRIES", 0)
    monkeypatch.setattr(tfds, "builder", functools.partial(tfds.builder, data_dir=tmp_path))
    assert "'cifar10'" in refusal("cifar10")


def test_data_set_without_images(prepared):
    assert refusal("numbers") == "tfds:numbers has no images; its features are x"


def test_data_set_without_the_split_train(prepared):
    assert refusal("heldout") == "tfds:heldout has no split 'train'; its splits are test"


def test_empty_split(prepared):
    assert "train[95%:]" in refusal("few", "validation")


@pytest.mark.parametrize("name", [pytest.param("mnist", marks=pytest.mark.slow), "cifar10"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")
def test_tfds_data_sets_by_name_on_mock_data(tmp_path, name):
    builder = tfds.builder(name, data_dir=tmp_path)
    template = functools.partial(
        tfds.core.ShardedFileTemplate,
        data_dir=builder.data_path,
        dataset_name=name,
        filetype_suffix="tfrecord",
    )
    splits = [
        tfds.core.SplitInfo(
            name=split, shard_lengths=[count], num_bytes=0, filename_template=template(split=split)
        )
        for split, count in (("train", 11), ("test", 7))
    ]
    builder.info.set_splits(tfds.core.splits.SplitDict(splits))
    builder.data_path.mkdir(parents=True)
    builder.info.write_to_directory(builder.data_dir)
    with tfds.testing.mock_data(num_examples=7, data_dir=tmp_path):
        held_out = list(evaluation_batches(TfdsSource(name, "validation"), (32, 32), 4))
    with tfds.testing.mock_data(num_examples=11, data_dir=tmp_path):
        batch = next(
            iter(
                training_batches(
                    TfdsSource(name, "training"), RandomAugmentation((32, 32), 0.6), 5, seed=0
                )
            )
        )
    assert [len(images) for images in held_out] == [4, 3]
    assert batch.shape == (5, 32, 32, 3)
    assert float(tf.math.reduce_std(batch)) > 0


def test_interruption_is_not_reported_as_a_data_set_error(monkeypatch):
    def stop(name):
        raise Interrupted("terminated", 15)

    monkeypatch.setattr(tfds, "builder", stop)
    with pytest.raises(Interrupted):
        TfdsSource("mnist")
