"""Mixtures of sources: shares, order, augmentation and wrong input."""

import itertools

import numpy as np
import pytest
from PIL import Image

from tfinvert import InputError
from tfinvert.config.choices import MIXTURE_FORMAT
from tfinvert.data.augmentation import RandomAugmentation
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.mixture import Mixture, parse_mixture
from tfinvert.data.open_source import open_source
from tfinvert.data.pipeline import training_batches
from tfinvert.features.hog import Hog
from tfinvert.training.datasets import augmentation_for, open_training_dataset
from tfinvert.training.settings import Settings

SIDE = 40
A, B, C = 5, 9, 3  # images of the folders


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders whose images encode their folder in red, their number in green, rows in blue."""
    place = tmp_path_factory.mktemp("mixture")
    for folder, count in enumerate((A, B, C)):
        root = place / "abc"[folder]
        root.mkdir()
        for number in range(count):
            image = np.full((SIDE, SIDE, 3), (100 * folder, 10 * number, 0), np.uint8)
            image[..., 2] = np.arange(SIDE)[:, np.newaxis] * 6
            Image.fromarray(image).save(root / f"{number}.png")
    return place


def open_mixture(place, text, split="all", image_cache=None):
    for name in "abc":
        text = text.replace(f"folder:{name}", f"folder:{place / name}")
    return open_source(text, split, image_cache)


def batches(source, size, steps, start_step=0, shard=(0, 1), **settings):
    settings = Settings(steps=99, seed=3, color_jitter=0, **settings)
    augmentation = augmentation_for(settings, source, (SIDE, SIDE))
    stream = training_batches(source, augmentation, size, 3, start_step, shard)
    return np.stack([*itertools.islice(stream.as_numpy_iterator(), steps)]) * 255


def folders(images):
    return np.rint(images[..., 0, 0, 0] / 100).astype(int)


def numbers(images):
    return np.rint(images[..., 0, 0, 1] / 10).astype(int)


@pytest.mark.parametrize(
    ("text", "share", "size"),
    [
        ("mix:0.5:folder:a+0.5:folder:b", 0.5, 6),
        ("mix:2:folder:a+3:folder:b", 0.4, 5),
        ("mix:0.4:folder:a+0.6:folder:b", 0.4, 7),
        ("mix:1/3:folder:a+2/3:folder:b", 1 / 3, 4),
    ],
)
def test_every_batch_has_the_shares_to_within_one_image(place, text, share, size):
    images = batches(open_mixture(place, text), size, 20)
    counts = (folders(images) == 0).sum(1)
    assert np.abs(counts - share * size).max() < 1
    assert abs((folders(images) == 0).mean() - share) < 1 / 120 + 1e-9


def test_shares_of_three_parts(place):
    text = "mix:0.5:folder:a+0.3:folder:b+0.2:folder:c"
    order = folders(batches(open_mixture(place, text), 10, 6))
    assert all(np.bincount(batch).tolist() == [5, 3, 2] for batch in order)


def test_each_part_has_the_order_of_its_source_alone(place):
    mixed = batches(open_mixture(place, "mix:1:folder:a+2:folder:b"), 6, 10)
    mixed = mixed.reshape(-1, *mixed.shape[2:])
    for folder, (name, count) in enumerate((("a", A), ("b", B))):
        own = numbers(mixed[folders(mixed) == folder])
        alone = numbers(batches(open_mixture(place, f"folder:{name}"), len(own), 1)[0])
        np.testing.assert_array_equal(own, alone)
        for begin in range(0, len(own) - count + 1, count):
            assert sorted(own[begin : begin + count]) == list(range(count))


def test_a_position_determines_the_image_and_its_view(place):
    text = "mix:0.3:folder:a,min_crop=0.3+0.7:folder:b,shift=5"
    whole = batches(open_mixture(place, text), 12, 8)
    np.testing.assert_array_equal(batches(open_mixture(place, text), 12, 3, 5), whole[5:])
    shards = [batches(open_mixture(place, text), 12, 8, 0, (i, 3)) for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(shards, 1), whole)
    cached = open_mixture(place, text, image_cache=DecodedImageCache(memory_gb=1e-6))
    np.testing.assert_array_equal(batches(cached, 12, 8), whole)


def test_options_of_a_part_have_priority_over_the_settings(place):
    source = open_mixture(place, "mix:1:folder:a,min_crop=0.25,shift=0+1:folder:b")
    images = batches(source, 40, 1, min_crop=1.0, shift=7)[0]
    rows = images[..., 2] / 6
    a, b = rows[folders(images) == 0], rows[folders(images) == 1]
    extent = a.max((1, 2)) - a.min((1, 2))
    assert extent.min() < 0.5 * SIDE  # crops
    np.testing.assert_allclose(np.diff(a, axis=1).max((1, 2)), extent / (SIDE - 1), atol=0.4)
    assert (b.max((1, 2)) - b.min((1, 2))).min() > SIDE - 9  # whole images, shifted
    assert len({*b[:, 0, 0].round()}) > 4
    augmentation = augmentation_for(Settings(steps=1, shift=7), source, (SIDE, SIDE))
    assert augmentation.min_crop == [0.25, 0.6] and augmentation.shift == [0, 7]


def test_evaluation_has_the_images_of_all_parts(place):
    source = open_mixture(place, "mix:1:folder:a+9:folder:c")
    images = np.stack([*source.evaluation_images().as_numpy_iterator()])
    assert source.evaluation_size == len(source) == len(images) == A + C
    assert folders(images).tolist() == [0] * A + [2] * C
    assert len(open_mixture(place, "mix:1:folder:a+9:folder:c", "validation")) == 4
    with pytest.raises(InputError, match="has no classes"):
        source.evaluation_labels()


def test_identity_depends_on_shares_and_images(place):
    texts = ("mix:1:folder:a+1:folder:b", "mix:1:folder:a+2:folder:b", "mix:1:folder:b+1:folder:a")
    assert len({open_mixture(place, text).identity() for text in texts}) == 3
    same = "mix:0.5:folder:a+0.5:folder:b", "mix:1/2:folder:a+1/2:folder:b"
    assert len({open_mixture(place, text).identity() for text in same}) == 1


@pytest.mark.slow
def test_cached_views_are_those_of_the_stream(place, tmp_path):
    source = open_mixture(place, "mix:1:folder:a,min_crop=0.5+1:folder:b")
    settings = Settings(steps=9, batch_size=4, cached_views=2, seed=3, color_jitter=0, shift=2)
    dataset = open_training_dataset(Hog((SIDE, SIDE, 3)), source, settings, tmp_path)
    views, features = dataset.cache.read(np.arange(2 * (A + B)))
    expected = batches(source, 2 * (A + B), 1, shift=2)[0]
    np.testing.assert_allclose(views, expected, atol=1e-3)
    assert features.shape[0] == 28
    other = open_mixture(place, "mix:1:folder:a,min_crop=0.4+1:folder:b")
    assert (
        open_training_dataset(Hog((SIDE, SIDE, 3)), other, settings, tmp_path).cache.path
        != dataset.cache.path
    )


def test_plus_signs_and_commas_in_paths(tmp_path):
    parts = parse_mixture("0.5:folder:/c++/a,b+c,min_crop=0.5+1/2:tfds:x/y:1.0.0,shift=2")
    assert [part.data for part in parts] == ["folder:/c++/a,b+c", "tfds:x/y:1.0.0"]
    assert [dict(part.options) for part in parts] == [{"min_crop": 0.5}, {"shift": 2}]
    assert parts[0].share == parts[1].share


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1:photos", "needs two sources or more"),
        ("1:photos+x:photos", "needs two sources or more"),
        ("half:photos+1:photos", "cannot be read, 'half:photos'"),
        ("1/0:photos+1:photos", "cannot be read"),
        ("0:photos+1:photos", "shares above 0, not 0"),
        ("1:photos+-1:photos", "shares above 0, not -1"),
        ("1:+1:photos", "a source, which is no mixture"),
        ("1:mix:1:photos+1:photos", "a source, which is no mixture"),
        ("1:photos,shift=1,shift=2+1:photos", "repeats an option"),
        ("1:photos,shift=1.5+1:photos", "cannot be read"),
    ],
)
def test_a_wrong_mixture_is_one_line(text, problem):
    with pytest.raises(InputError, match=problem) as caught:
        open_source(f"mix:{text}")
    assert "\n" not in str(caught.value)
    assert MIXTURE_FORMAT in str(caught.value) and f"Received: mix:{text}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1:photos,min_crop=2+1:photos", "min_crop must be in .* Received: 2"),
        ("1:photos,shift=-1+1:photos", "shift must be at least 0"),
        ("1:photos,color_jitter=nan+1:photos", "jitter must be in"),
        ("1:nothing+1:photos", "data must be photos, .* Received: 'nothing'"),
        ("0.3333:photos+0.6666:photos+1:photos", "sum of at most 1000; round them"),
    ],
)
def test_wrong_parts_are_one_line(text, problem):
    with pytest.raises(InputError, match=problem):
        open_source(f"mix:{text}")


def test_a_mixture_of_photographs_has_the_defaults_of_its_sources(place):
    source = open_mixture(place, "mix:1:photos+1:folder:a")
    assert isinstance(source, Mixture)
    augmentation = augmentation_for(Settings(steps=1), source, (32, 32))
    assert augmentation.min_crop == [0.35, 0.6] and augmentation.jitter == [0.8, 0.0]
    settings = Settings(steps=1)
    assert augmentation_for(settings, open_source("photos"), (8, 8)) == RandomAugmentation(
        (8, 8), 0.35, 0, 0.8
    )
