"""Transformations with known answers, and how far reconstructions follow them."""

import dataclasses

import numpy as np
import pytest

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert.analysis.equivariance import (
    blur,
    equivariance_projection,
    influence_standard_error,
    make_transformations,
    mirror,
    ratio_of_sums,
    rotate,
    scale,
    shift,
)
from tfinvert.analysis.experiments.invariance import EXPERIMENT
from tfinvert.errors import InputError

ALL = {"rotations": (20.0,), "shifts": (0.25,), "scales": (1.5,), "blurs": (1 / 16,)}
ROTATION = {"rotations": (20.0,), "shifts": (), "scales": (), "blurs": ()}


def test_a_quarter_turn_and_a_shift_move_whole_pixels():
    image = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(rotate(image, 90.0), np.rot90(image), atol=1e-5)
    np.testing.assert_allclose(rotate(image, -90.0), np.rot90(image, -1), atol=1e-5)
    moved = shift(image, 0.25)
    np.testing.assert_allclose(moved[:, 2:], image[:, :-2], atol=1e-6)
    np.testing.assert_allclose(moved[:, :2], image[:, 2:0:-1], atol=1e-6)  # reflected
    np.testing.assert_array_equal(mirror(image, 1.0), np.fliplr(image))


def test_scaling_enlarges_about_the_middle():
    slope = np.linspace(-1, 1, 33, dtype=np.float32)
    image = np.broadcast_to(slope[np.newaxis, :, np.newaxis], (33, 33, 3)).copy()
    np.testing.assert_allclose(scale(image, 2.0), image / 2, atol=1e-3)


def test_blurring_is_in_parts_of_the_width():
    for side in (32, 64):
        image = np.zeros((side, side, 3), np.float32)
        image[:, side // 2 :] = 1.0
        # A step becomes the normal distribution's: 84 % one standard deviation behind it.
        row = blur(image, 1 / 16)[side // 2, :, 0]
        at = np.interp(0.8413, row, (np.arange(side) + 0.5) / side)
        assert at - 0.5 == pytest.approx(1 / 16, rel=0.05)


def test_transformations_go_either_way_if_they_can():
    images = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)
    known = {each.label: each for each in make_transformations(**ALL)}
    assert list(known) == [
        "turned 20°",
        "shifted 0.25 widths",
        "scaled 1.5×",
        "mirrored",
        "blurred 0.0625 widths",
    ]
    ways = np.array([1.0, -1.0])
    left_and_right = known["shifted 0.25 widths"](images, ways)
    np.testing.assert_allclose(left_and_right[0, :, 4:], images[0, :, :-4], atol=1e-6)
    np.testing.assert_allclose(left_and_right[1, :, :-4], images[1, :, 4:], atol=1e-6)
    np.testing.assert_array_equal(
        known["scaled 1.5×"](images, ways), known["scaled 1.5×"](images, -ways)
    )


def test_the_projection_is_1_for_the_whole_change_and_0_for_none():
    rng = np.random.default_rng(0)
    rebuilt, moved = rng.random((2, 3, 4, 4, 3)).astype(np.float32)
    for part in (0.0, 0.4, 1.0):
        shared, wanted = equivariance_projection(rebuilt, moved, rebuilt + part * (moved - rebuilt))
        np.testing.assert_allclose(shared / wanted, part, atol=1e-6)
    np.testing.assert_allclose(
        wanted, [((moved[i] - rebuilt[i]) ** 2).sum() for i in range(3)], 1e-6
    )


def test_ratios_of_sums_and_the_error_that_leaving_images_out_gives():
    rng = np.random.default_rng(1)
    below = rng.random((2, 200)) + 0.5
    above = 0.6 * below + 0.1 * rng.standard_normal((2, 200))
    value, influence = ratio_of_sums(above, below)
    np.testing.assert_allclose(value, above.sum(1) / below.sum(1))
    without = (above.sum(1, keepdims=True) - above) / (below.sum(1, keepdims=True) - below)
    jackknife = np.sqrt(199 / 200 * ((without - without.mean(1, keepdims=True)) ** 2).sum(1))
    np.testing.assert_allclose(influence_standard_error(influence), jackknife, rtol=0.02)
    mean = without.mean(0)
    jackknife = np.sqrt(199 / 200 * ((mean - mean.mean()) ** 2).sum())
    np.testing.assert_allclose(influence_standard_error(influence.mean(0)), jackknife, rtol=0.02)


def test_what_gives_the_photograph_back_follows_exactly(photos):
    result = EXPERIMENT.run({"echo": stub_inverter(echo)}, photos[:8], ALL)
    assert [row["equivariance"] for row in result.rows] == pytest.approx([1.0] * 5)
    assert [row["equivariance_se"] for row in result.rows] == pytest.approx([0.0] * 5, abs=1e-6)
    assert result.findings[0] == (
        "Equivariance score, averaged over transformations (1: reconstructions follow exactly, 0: "
        "they stay): fc8 1.000 ± 0.000."
    )


def test_the_claim_holds_where_less_and_less_follows(photos):
    def judge(**parts):
        """Claims on layers that mix a part of the image into one that stays."""
        inverters = {
            layer: stub_inverter(
                lambda images, part=part: part * images + (1 - part) * photos[-1],
                layer,
                (64, 64, 3) if layer.startswith("conv") else (10,),
            )
            for layer, part in parts.items()
        }
        return EXPERIMENT.judge(EXPERIMENT.measure(inverters, photos[:8], **ROTATION))

    (claim,) = judge(conv1=1.0, conv2=0.5, fc6=0.1)
    assert claim.holds and claim.value.startswith("conv1 1.000 ± 0.000, fc6 0.")
    assert claim.value.endswith("rank correlation -1.00")
    (claim,) = judge(conv1=0.1, conv2=0.5, fc6=1.0)
    assert not claim.holds and claim.value.endswith("rank correlation 1.00")
    assert judge(conv1=1.0, fc6=0.1) == judge(fc6=1.0, fc7=0.5, fc8=0.1) == []


@pytest.mark.parametrize("shipped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_inverter_as_computed_by_hand(photos, shipped):
    photos = photos[:16]
    inverter = stub_inverter(lambda images: 0.8 * images + 0.2 * photos[-1], "conv2")
    if shipped:
        inverter = tfinvert.load("alexnet-conv2-64")
    settings = {"rotations": (), "shifts": (0.125, 0.25), "scales": (), "blurs": (), "seed": 3}
    result = EXPERIMENT.run({"conv2": inverter}, photos, settings)
    near, far, mirrored = result.rows
    assert (near["strength"], far["strength"], mirrored["strength"]) == (0.125, 0.25, None)
    rebuilt, features = inverter.reconstruct(photos), inverter.encode(photos)
    above = below = change = 0.0
    for i, photo in enumerate(photos):
        flipped = photo[np.newaxis, :, ::-1]
        moved = inverter.reconstruct(flipped)[0] - rebuilt[i]
        wanted = rebuilt[i, :, ::-1] - rebuilt[i]
        above, below = above + (moved * wanted).sum(), below + (wanted**2).sum()
        change += np.linalg.norm(inverter.encode(flipped)[0] - features[i]) / 16
    flat = features.reshape(16, -1)
    pairs = [np.linalg.norm(flat[i] - flat[j]) for i in range(16) for j in range(i)]
    assert mirrored["equivariance"] == pytest.approx(above / below, rel=1e-3)
    assert mirrored["feature_change"] == pytest.approx(change / np.mean(pairs), rel=1e-3)
    assert near["feature_change"] < far["feature_change"]
    assert 0.5 < mirrored["equivariance"] < 1.2
    assert len(result.figures) == 3  # by layer, by shift, the photograph
    assert all(figure.image.ndim == 3 for figure in result.figures)
    assert EXPERIMENT.measure({"conv2": inverter}, photos, **settings).rows == result.rows
    if shipped:
        again = EXPERIMENT.run({"conv2": inverter}, photos, settings)
        assert dataclasses.replace(again, figures=[]) == dataclasses.replace(result, figures=[])


@pytest.mark.parametrize("settings", [{"max_images": 1}, {"scales": (0.0,)}, {"blurs": (-1.0,)}])
def test_settings_out_of_range_are_refused(photos, settings):
    with pytest.raises(InputError, match="at least 2 images, and scales and blurs above 0"):
        EXPERIMENT.run({"echo": stub_inverter(echo)}, photos[:4], settings)


def test_reconstructions_that_nothing_changes_are_refused(photos):
    grey = stub_inverter(lambda images: np.full_like(images, 0.5))
    with pytest.raises(InputError, match="Received: grey, unchanged when turned 20°"):
        EXPERIMENT.run({"grey": grey}, photos[:4], ALL)
