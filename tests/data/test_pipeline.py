"""Batches of augmented and of centre-cropped images."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.transform import resize

from tfinvert import InputError
from tfinvert.data import pipeline
from tfinvert.data.augmentation import RandomAugmentation
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.open_source import open_source
from tfinvert.data.pipeline import center_crop_and_resize, evaluation_batches
from tfinvert.data.shuffling import WHOLE_BATCH
from tfinvert.data.sources import IndexedSource


class Memory(IndexedSource):
    """A source of images in memory."""

    def __init__(self, images):
        self.name = "memory"
        self._images = list(images)

    def __len__(self):
        return len(self._images)

    def image(self, index):
        return self._images[index]


def noise(count, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def located(height, width):
    """An image whose pixels encode their row and column."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)


def training_batches(source, size, batch_size, seed, *, start_step=0, shard=WHOLE_BATCH, **how):
    how.setdefault("min_crop", source.min_crop)
    how.setdefault("jitter", source.jitter)
    views = RandomAugmentation(size, **how)
    return pipeline.training_batches(source, views, batch_size, seed, start_step, shard)


def first(batches, count):
    return list(itertools.islice(batches.as_numpy_iterator(), count))


def test_batches_are_float_images_in_0_to_1():
    batches = training_batches(Memory(noise(5, 20, 30)), (8, 12), 4, seed=0)
    assert batches.element_spec.shape.as_list() == [4, 8, 12, 3]
    assert batches.element_spec.dtype == tf.float32
    for batch in first(batches, 5):
        assert batch.shape == (4, 8, 12, 3)
        assert batch.dtype == np.float32
        assert batch.min() >= 0
        assert batch.max() <= 1


def test_the_same_seed_gives_the_same_batches_and_another_gives_others():
    source = Memory(noise(7, 20, 30))
    one, same, other = (
        np.stack(first(training_batches(source, (8, 8), 3, seed), 6)) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_programs_global_seed_changes_nothing():
    source = Memory(noise(7, 20, 30))
    before = np.stack(first(training_batches(source, (8, 8), 3, seed=1), 4))
    tf.random.set_seed(12)
    np.testing.assert_array_equal(
        before, np.stack(first(training_batches(source, (8, 8), 3, seed=1), 4))
    )


def shades(count):
    """Uniform images, which do not change by cropping."""
    return Memory(np.full((6, 6, 3), index, np.uint8) for index in range(count))


def order(batches, steps):
    drawn = np.concatenate(first(batches, steps))
    return np.round(drawn[:, 0, 0, 0] * 255).astype(int).tolist()


def test_every_epoch_has_all_images_in_a_different_order():
    drawn = order(training_batches(shades(20), (4, 4), 10, seed=0), 8)
    epochs = [drawn[begin : begin + 20] for begin in range(0, 80, 20)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_batches_straddle_epochs():
    drawn = order(training_batches(shades(5), (4, 4), 4, seed=0), 5)
    for begin in range(0, 20, 5):
        assert sorted(drawn[begin : begin + 5]) == list(range(5))


@pytest.mark.parametrize(
    "step", [1, 100, *(pytest.param(step, marks=pytest.mark.slow) for step in (0, 2, 3, 7))]
)
def test_resumed_batches_equal_uninterrupted_batches(step):
    source = Memory(noise(7, 12, 15))  # batches of 3 straddle epochs of 7
    unbroken = first(training_batches(source, (8, 8), 3, seed=2), step + 6)[step:]
    resumed = first(training_batches(source, (8, 8), 3, seed=2, start_step=step), 6)
    np.testing.assert_array_equal(np.stack(unbroken), np.stack(resumed))


def test_skipped_images_are_not_decoded():
    class Counting(Memory):
        count = 0

        def image(self, index):
            Counting.count += 1
            return super().image(index)

    source = Counting(noise(1000, 2, 2))
    first(training_batches(source, (2, 2), 10, seed=0, start_step=90), 1)
    assert Counting.count < 500


def test_full_crops_are_unchanged_or_flipped():
    images = noise(6, 16, 16)
    expected = images.astype(np.float32) / 255
    mirrored = as_given = 0
    for batch in first(training_batches(Memory(images), (16, 16), 6, seed=0, min_crop=1.0), 4):
        for view in batch:
            if any(np.array_equal(view, image) for image in expected):
                as_given += 1
            elif any(np.array_equal(view, image[:, ::-1]) for image in expected):
                mirrored += 1
    assert as_given + mirrored == 24
    assert min(as_given, mirrored) >= 4


def crops(shape, size, count, min_crop):
    """Top, bottom, left and right edge of random crops, in pixels, to about one pixel."""
    batches = training_batches(Memory([located(*shape)]), size, count, seed=0, min_crop=min_crop)
    views = first(batches, 1)[0] * 255
    rows, columns = views[..., 0], views[..., 1]
    return rows.min((1, 2)), rows.max((1, 2)), columns.min((1, 2)), columns.max((1, 2))


def test_crops_have_the_target_aspect_ratio_and_cover_the_image():
    top, bottom, left, right = crops((120, 160), (24, 48), 300, min_crop=0.5)
    heights, widths = bottom - top, right - left
    np.testing.assert_allclose(widths / heights, 2, rtol=0.1)
    assert heights.min() >= 38 - 3  # the largest crop is 80×160
    assert heights.max() <= 80
    assert widths.max() <= 160
    assert top.min() < 5
    assert bottom.max() > 114
    assert left.min() < 5
    assert right.max() > 154


def test_half_of_the_views_are_flipped():
    batches = training_batches(Memory([located(20, 20)]), (20, 20), 400, seed=0, min_crop=1)
    views = first(batches, 1)[0]
    mirrored = (views[:, 0, 0, 1] > views[:, 0, -1, 1]).mean()
    assert 0.4 < mirrored < 0.6


SHAPES = [(1, 1), (1, 500), (500, 1), (3, 2), (7, 200), (65, 64)]
SIZES = [(16, 16), (8, 24), (24, 8)]
FAST = {(shape, SIZES[index % 3]) for index, shape in enumerate(SHAPES)}  # every shape and size


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] * (pair not in FAST))
        for pair in itertools.product(SHAPES, SIZES)
    ],
)
def test_images_of_any_shape(shape, size):
    source = Memory(noise(2, *shape))
    batch = first(training_batches(source, size, 8, seed=0, min_crop=0.1), 1)[0]
    assert batch.shape == (8, *size, 3)
    assert np.isfinite(batch).all()
    assert first(evaluation_batches(source, size, 2), 1)[0].shape == (2, *size, 3)


@pytest.mark.parametrize("min_crop", [0, -0.5, 1.01, float("nan")])
def test_min_crop_out_of_range(min_crop):
    with pytest.raises(InputError) as caught:
        training_batches(shades(2), (4, 4), 1, seed=0, min_crop=min_crop)
    assert "(0, 1]" in str(caught.value)
    assert str(min_crop) in str(caught.value)


def test_evaluation_covers_each_image_once_in_order():
    batches = first(evaluation_batches(shades(11), (4, 4), 4), 99)
    assert [len(batch) for batch in batches] == [4, 4, 3]
    drawn = np.round(np.concatenate(batches)[:, 0, 0, 0] * 255)
    np.testing.assert_array_equal(drawn, range(11))


def test_evaluation_of_every_third_image():
    drawn = np.concatenate(first(evaluation_batches(shades(11), (4, 4), 4, every=3), 99))
    np.testing.assert_array_equal(np.round(drawn[:, 0, 0, 0] * 255), [0, 3, 6, 9])


@pytest.mark.parametrize(("shape", "size"), [((96, 96), (32, 32)), ((90, 120), (30, 40))])
def test_center_crop_is_antialiased_when_reducing(shape, size):
    image = noise(1, *shape)[0]
    view = center_crop_and_resize(tf.constant(image), size).numpy()
    height, width = size
    pillow = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(view, np.asarray(pillow) / 255, atol=1.5 / 255)


def test_center_crop_is_bilinear_when_enlarging():
    image = noise(1, 10, 15)[0]
    view = center_crop_and_resize(tf.constant(image), (20, 30)).numpy()
    expected = resize(image / 255, (20, 30), order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(view, expected, atol=0.5 / 255 + 1e-5)
    np.testing.assert_allclose(view * 255, np.round(view * 255), atol=1e-4)  # as a file holds it


def test_center_crop_at_the_same_size_is_exact():
    image = noise(1, 17, 23)[0]
    view = center_crop_and_resize(tf.constant(image), (17, 23)).numpy()
    np.testing.assert_array_equal(view, image.astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("shape", "size", "box"),
    [
        ((10, 20), (10, 10), (0, 10, 5, 15)),
        ((21, 10), (10, 10), (5, 15, 0, 10)),
        ((30, 30), (10, 30), (10, 20, 0, 30)),
        ((30, 30), (30, 10), (0, 30, 10, 20)),
    ],
)
def test_center_crop_is_centred(shape, size, box):
    image = noise(1, *shape)[0]
    top, bottom, left, right = box
    expected = image[top:bottom, left:right].astype(np.float32) / 255
    np.testing.assert_array_equal(
        center_crop_and_resize(tf.constant(image), size).numpy(), expected
    )


@pytest.mark.parametrize("size", [100, 224, 227])
def test_center_crop_of_a_square_image_contains_its_borders(size):
    # In float32, 227 / 224 * 224 is less than 227.
    for side in range(size, size + 12):
        image = np.zeros((side, side, 3), np.uint8)
        image[-1], image[:, -1] = 255, 255
        view = center_crop_and_resize(tf.constant(image), (size, size)).numpy()
        assert view[-1].min() > 0.5, side
        assert view[:, -1].min() > 0.5, side


def test_jitter_varies_colours_within_range():
    source = open_source("photos", "training")
    plain, varied = (
        next(training_batches(source, (32, 32), 16, 0, min_crop=1.0, jitter=j).as_numpy_iterator())
        for j in (0.0, 1.0)
    )
    assert varied.min() >= 0
    assert varied.max() <= 1
    means = plain.mean((1, 2)), varied.mean((1, 2))
    assert np.abs(means[0] - means[1]).mean() > 0.05


def test_jitter_keeps_grey_images_grey():
    grey = np.repeat(noise(4, 16, 16)[..., :1] // 2 + 64, 3, -1)
    views = first(training_batches(Memory(grey), (16, 16), 8, 0, min_crop=1.0, jitter=0.4), 1)[0]
    np.testing.assert_allclose(views, np.repeat(views[..., :1], 3, -1), atol=1.1 / 255)
    assert views.std() > 0.02


def test_jitter_out_of_range():
    with pytest.raises(InputError, match=r"jitter must be in \[0, 1\]. Received: 2"):
        training_batches(open_source("photos"), (32, 32), 4, 0, jitter=2)


def test_shifts_are_uniform_and_reflect_the_border():
    most, side = 3, 12
    batches = training_batches(Memory([located(side, side)]), (side, side), 2000, 0, min_crop=1)
    shifted = training_batches(
        Memory([located(side, side)]), (side, side), 2000, 0, min_crop=1, shift=most
    )
    plain, moved = (np.rint(first(views, 1)[0] * 255).astype(int) for views in (batches, shifted))
    padded = np.pad(plain, [(0, 0), (most, most), (most, most), (0, 0)], "reflect")
    down = moved[:, side // 2, 0, 0] - side // 2
    right = moved[:, 0, side // 2, 1] - plain[:, 0, side // 2, 1]
    right *= np.sign(plain[:, 0, 1, 1] - plain[:, 0, 0, 1])  # some are flipped
    for view, source, y, x in zip(moved, padded, down + most, right + most, strict=True):
        np.testing.assert_array_equal(view, source[y : y + side, x : x + side])
    counts = np.histogram2d(down, right, np.arange(-most, most + 2) - 0.5)[0]
    assert counts.sum() == 2000
    assert counts.min() > 15  # 41 ± 4 standard deviations


def test_shifts_are_functions_of_seed_and_position():
    source = Memory(noise(5, 16, 16))
    unbroken = first(training_batches(source, (16, 16), 4, 7, shift=4), 4)
    resumed = first(training_batches(source, (16, 16), 4, 7, start_step=2, shift=4), 2)
    np.testing.assert_array_equal(unbroken[2:], resumed)


@pytest.mark.parametrize("shift", [-1, 16])
def test_shift_out_of_range(shift):
    with pytest.raises(InputError, match="shift must be at least 0 and less than the image sides"):
        training_batches(Memory(noise(1, 16, 16)), (16, 16), 1, 0, shift=shift)


@pytest.mark.parametrize("of", [2, 3])
def test_shards_of_a_batch_make_up_the_batch(of):
    source = Memory(noise(7, 16, 16))
    whole = first(training_batches(source, (8, 8), 6, 1, start_step=2), 4)
    parts = [
        first(training_batches(source, (8, 8), 6, 1, start_step=2, shard=(i, of)), 4)
        for i in range(of)
    ]
    for batch, *others in zip(whole, *parts, strict=True):
        assert {len(other) for other in others} == {6 // of}
        np.testing.assert_array_equal(np.concatenate(others), batch)


@pytest.mark.parametrize(
    ("memory_gb", "min_crop"),
    [
        (15e-6, 0.5),
        (0, 0.6),
        (1, 0.5),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in ((15e-6, 0.6), (0, 0.5), (1, 0.6))
        ),
    ],
)
def test_cached_images_give_the_views_of_decoded_ones(memory_gb, min_crop):
    source = Memory([*noise(3, 90, 130), *noise(2, 40, 30), *noise(2, 64, 20)])
    views = RandomAugmentation((16, 24), min_crop, 3, 0.3)
    decoded = first(pipeline.training_batches(source, views, 5, 3), 4)
    cache = DecodedImageCache(views.shrink, memory_gb)
    for index in range(len(source)):
        cache.append(source.image(index))
    assert cache.in_memory <= memory_gb * 1e9
    assert cache.in_memory + cache.on_disk < sum(source.image(i).nbytes for i in range(7)) / 2
    assert (cache.on_disk > 0) == (memory_gb < 1)
    source.image_cache = cache
    source.image = None  # decoding again would fail
    np.testing.assert_array_equal(first(pipeline.training_batches(source, views, 5, 3), 4), decoded)


@pytest.mark.parametrize(("shape", "size"), [((96, 128), (32, 32)), ((500, 40), (20, 10))])
@pytest.mark.parametrize("min_crop", [1.0, 0.6, 0.5, 0.3])
def test_smallest_crop_of_a_reduced_image_has_the_size_of_a_view(shape, size, min_crop):
    views = RandomAugmentation(size, min_crop)
    reduced = views.shrink(noise(1, *shape)[0])
    largest = max(reduced.shape[0] / size[0] * min_crop, reduced.shape[1] / size[1] * min_crop)
    smallest = min(reduced.shape[0] / size[0] * min_crop, reduced.shape[1] / size[1] * min_crop)
    assert smallest == pytest.approx(1, abs=0.1) or reduced.shape[:2] == shape
    assert largest / smallest == pytest.approx(
        max(shape[0] / size[0], shape[1] / size[1]) / min(shape[0] / size[0], shape[1] / size[1]),
        rel=0.1,
    )
    assert views.shrink(reduced) is reduced


def test_full_disk_for_decoded_images(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(InputError, match="no space for decoded images in .*gone.*TMPDIR"):
        DecodedImageCache(memory_gb=0).append(noise(1, 8, 8)[0])


def test_views_of_larger_images_are_antialiased():
    image = noise(1, 96, 96)[0]
    views = first(training_batches(Memory([image]), (32, 32), 8, 0, min_crop=1.0), 1)[0]
    expected = center_crop_and_resize(tf.constant(image), (32, 32)).numpy()
    for view in views:
        nearest = min(abs(view - expected).max(), abs(view[:, ::-1] - expected).max())
        assert nearest < 1.5 / 255
