"""Inverters on images of any size: sides, lists, pieces without a seam, wrong input."""

import numpy as np
import pytest
import skimage.data

import tfinvert
from tests.untrained import made
from tfinvert.inverter import tiling
from tfinvert.networks import sizes

PHOTO = skimage.data.astronaut() / np.float32(255)
SIZES = [(64, 64), (100, 131), (67, 200), (33, 70)]


INVERTERS = {
    "hog": ("hog", "paper"),
    "hog, residual": ("hog", "residual"),
    "lbp": ("lbp:cell_size=8", "paper"),
    "lbp, residual": ("lbp:cell_size=16", "residual"),
    "sift": ("sift", "paper"),
    "sift, residual": ("sift", "residual"),
    "skimage_hog": ("skimage_hog", "residual"),
}


@pytest.fixture(params=INVERTERS)
def inverter(request):
    return made(*INVERTERS[request.param])


@pytest.mark.parametrize("size", SIZES)
def test_an_image_gives_one_of_its_size(inverter, size):
    height, width = size
    image = PHOTO[np.newaxis, :height, 100 : 100 + width]
    rebuilt = inverter.reconstruct(image)
    assert rebuilt.shape == image.shape and rebuilt.dtype == np.float32
    assert rebuilt.std() > 0.01
    # reference: the image mirrored to whole cells, through the feature of exactly that size
    more = [(0, -side % inverter.multiple) for side in size]
    whole = np.pad(image, [(0, 0), *more, (0, 0)], "symmetric")
    own = inverter.at(whole.shape[1:3])
    assert own.output_size == whole.shape[1:3]
    expected = own.decode(own.feature(whole)).numpy()[:, :height, :width]
    np.testing.assert_allclose(rebuilt, expected, atol=1e-5)


def test_a_list_gives_a_list(inverter):
    images = [PHOTO[:height, :width] for height, width in SIZES]
    rebuilt = inverter.reconstruct(images)
    features = inverter.encode(images)
    inverted = inverter.invert(features)
    for image, whole, again in zip(images, rebuilt, inverted, strict=True):
        np.testing.assert_allclose(whole, inverter.reconstruct(image[np.newaxis])[0], atol=1e-5)
        height, width = image.shape[:2]
        np.testing.assert_allclose(again[:height, :width], whole, atol=1e-5)
    assert inverter.reconstruct(np.zeros((0, 70, 90, 3), "f4")).shape == (0, 70, 90, 3)


@pytest.mark.parametrize("size", [(200, 301), (512, 40)])
def test_pieces_have_no_seam(inverter, size, monkeypatch):
    images = np.stack([PHOTO, PHOTO[::-1]])[:, : size[0], : size[1]]
    expected = inverter.reconstruct(images)
    decoded = []
    monkeypatch.setattr(tiling, "MAX_TILE_PIXELS", 64 * 64)
    monkeypatch.setattr(
        sizes,
        "receptive_field_radius",
        lambda network, reach=sizes.receptive_field_radius: (
            decoded.append(reach(network)) or decoded[-1]
        ),
    )
    np.testing.assert_allclose(inverter.reconstruct(images), expected, atol=1e-5)
    assert decoded


def test_the_pieces_overlap_is_what_makes_it_so(monkeypatch):
    inverter = made("hog", "paper")
    expected = inverter.reconstruct(PHOTO[np.newaxis])
    monkeypatch.setattr(tiling, "MAX_TILE_PIXELS", 64 * 64)
    monkeypatch.setattr(sizes, "receptive_field_radius", lambda network: 0)
    assert np.abs(inverter.reconstruct(PHOTO[np.newaxis]) - expected).max() > 1e-3


@pytest.mark.parametrize("network", ["paper", "residual"])
@pytest.mark.parametrize("name", ["hog", "sift"])
def test_nothing_further_than_the_reach_counts(name, network):
    feature = tfinvert.features.get(name, image_shape=(512, 512, 3))
    model = made(name, network, image_shape=(512, 512, 3)).network
    reach, cell = sizes.receptive_field_radius(model), feature.cell_size
    grid = np.random.default_rng(1).normal(size=(1, *feature.spec.shape)).astype("f4")
    before = model(grid).numpy()[0]
    middle = grid.shape[1] // 2
    grid[0, middle, middle] += 100.0
    changed = np.abs(model(grid).numpy()[0] - before).max(-1) > 1e-4
    rows = np.flatnonzero(changed.any(1)) // cell
    assert len(rows)
    assert max(rows.max() - middle, middle - rows.min()) <= reach


def test_shipped_inverters_take_photographs():
    for name in ("hog", "hog-64", "lbp", "lbp-64", "sift-64"):
        inverter = tfinvert.load(name)
        assert inverter.any_size
        assert inverter.reconstruct(PHOTO[np.newaxis, :150, :201]).shape == (1, 150, 201, 3)
    assert not tfinvert.load("alexnet-conv5-64").any_size


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        ("hog-64", PHOTO[np.newaxis, :7], "at least 8×8 pixels. Received: .1, 7, 512, 3."),
        ("hog-64", PHOTO, "images .B, H, W, 3."),
        ("hog-64", [PHOTO, PHOTO[:4]], "at least 8×8 pixels. Received: .1, 4, 512, 3."),
        ("hog-64", np.full((1, 70, 70, 3), np.nan, "f4"), "NaN or infinite"),
        ("hog-64", skimage.data.astronaut()[np.newaxis], "divide uint8 images by 255"),
        ("alexnet-fc6-64", [PHOTO, PHOTO[:64]], "64×64 pixels. Received: images of 2 shapes"),
        ("alexnet-conv5-64", PHOTO[np.newaxis], "was built for images of shape .B, 64, 64, 3."),
    ],
)
def test_wrong_images_are_one_line(name, images, message):
    inverter = tfinvert.load(name)
    for function in (inverter.reconstruct, inverter.encode):
        with pytest.raises(tfinvert.InputError, match=message) as error:
            function(images)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("hog-64", (100, 64), "multiples of 8. Received: 100×64"),
        ("alexnet-fc6-64", (128, 128), "takes images of 64×64 pixels. Received: 128×128"),
    ],
)
def test_wrong_sizes_are_one_line(name, size, message):
    with pytest.raises(tfinvert.InputError, match=message):
        tfinvert.load(name).at(size)


@pytest.mark.parametrize("shape", [(1, 8, 8, 30), (8, 8, 31), (1, 0, 8, 31)])
def test_wrong_features_are_one_line(shape):
    with pytest.raises(tfinvert.InputError, match="features of hog .*Received: "):
        tfinvert.load("hog-64").invert(np.zeros(shape, "f4"))


def test_features_that_a_network_cannot_halve_are_one_line():
    with pytest.raises(tfinvert.InputError, match="multiples of 2. Received: .1, 3, 8, 31."):
        made("hog", "paper").invert(np.zeros((1, 3, 8, 31), "f4"))
