"""Inverters on images of any size: sides, lists, tiles without seams, wrong input."""

import numpy as np
import pytest
import skimage.data

import tfinvert
from tests.untrained import untrained_inverter
from tfinvert.inverter import tiling
from tfinvert.networks.sizes import receptive_field_radius

PHOTO = skimage.data.astronaut() / np.float32(255)
SIZES = [(64, 64), (100, 131), (67, 200), (33, 70)]
TILED_SIZES = [(200, 301), (512, 40)]

# One in-graph and one host feature, one network that contracts and one that does not; all other
# pairs are slow.
INVERTERS = {
    "hog": ("hog", "paper"),
    "sift, residual": ("sift", "residual"),
}
MORE_INVERTERS = {
    "hog, residual": ("hog", "residual"),
    "lbp": ("lbp:cell_size=8", "paper"),
    "lbp, residual": ("lbp:cell_size=16", "residual"),
    "sift": ("sift", "paper"),
    "skimage_hog": ("skimage_hog", "residual"),
}


@pytest.fixture(
    params=[*INVERTERS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_INVERTERS)]
)
def inverter(request):
    return untrained_inverter(*(INVERTERS | MORE_INVERTERS)[request.param])


@pytest.mark.parametrize(
    "sizes", [[(100, 131)], pytest.param(SIZES, marks=pytest.mark.slow)], ids=["one size", "sizes"]
)
def test_a_reconstruction_has_the_size_of_its_image(inverter, sizes):
    for height, width in sizes:
        image = PHOTO[np.newaxis, :height, 100 : 100 + width]
        reconstruction = inverter.reconstruct(image)
        assert reconstruction.shape == image.shape and reconstruction.dtype == np.float32
        assert reconstruction.std() > 0.01
        # Reference: the padded image, through the feature of exactly that size.
        padding = [(0, -side % inverter.decoder.size_multiple) for side in (height, width)]
        padded = np.pad(image, [(0, 0), *padding, (0, 0)], "symmetric")
        resized = inverter.at(padded.shape[1:3])
        assert resized.output_size == padded.shape[1:3]
        expected = resized.decoder.decode(resized.feature(padded)).numpy()[:, :height, :width]
        np.testing.assert_allclose(reconstruction, expected, atol=1e-5)


def test_a_list_of_images_gives_a_list(inverter):
    images = [PHOTO[:height, :width] for height, width in SIZES]
    reconstructions = inverter.reconstruct(images)
    inverted = inverter.invert(inverter.encode(images))
    for image, reconstruction, again in zip(images, reconstructions, inverted, strict=True):
        alone = inverter.reconstruct(image[np.newaxis])[0]
        np.testing.assert_allclose(reconstruction, alone, atol=1e-5)
        height, width = image.shape[:2]
        np.testing.assert_allclose(again[:height, :width], reconstruction, atol=1e-5)
    assert inverter.reconstruct(np.zeros((0, 70, 90, 3), "f4")).shape == (0, 70, 90, 3)


def test_tiles_have_no_seams(inverter, monkeypatch):
    tiled = []
    decode_tiled = tiling.decode_tiled
    monkeypatch.setattr(
        tiling, "decode_tiled", lambda *args: tiled.append(args) or decode_tiled(*args)
    )
    for height, width in TILED_SIZES:
        images = np.stack([PHOTO, PHOTO[::-1]])[:, :height, :width]
        expected = inverter.reconstruct(images)
        assert not tiled
        with monkeypatch.context() as patch:
            patch.setattr(tiling, "MAX_TILE_PIXELS", 64 * 64)
            np.testing.assert_allclose(inverter.reconstruct(images), expected, atol=1e-5)
        assert tiled
        tiled.clear()


def test_without_overlap_tiles_have_seams(monkeypatch):
    inverter = untrained_inverter("hog", "paper")
    image = PHOTO[np.newaxis, :256, :256]
    expected = inverter.reconstruct(image)
    decode_tiled = tiling.decode_tiled
    monkeypatch.setattr(tiling, "MAX_TILE_PIXELS", 64 * 64)
    monkeypatch.setattr(
        tiling,
        "decode_tiled",
        lambda decode, features, scale, radius, multiple: decode_tiled(
            decode, features, scale, 0, multiple
        ),
    )
    assert np.abs(inverter.reconstruct(image) - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("hog", "paper"),
        pytest.param("hog", "residual", marks=pytest.mark.slow),
        pytest.param("sift", "paper", marks=pytest.mark.slow),
        pytest.param("sift", "residual", marks=pytest.mark.slow),
    ],
)
def test_no_pixel_depends_on_cells_beyond_the_receptive_field(name, network):
    feature = tfinvert.features.get(name, image_shape=(512, 512, 3))
    model = untrained_inverter(name, network, image_shape=(512, 512, 3)).network
    radius, cell = receptive_field_radius(model), feature.cell_size
    grid = np.random.default_rng(1).normal(size=(1, *feature.spec.shape)).astype("f4")
    before = model(grid).numpy()[0]
    middle = grid.shape[1] // 2
    grid[0, middle, middle] += 100.0
    changed = np.abs(model(grid).numpy()[0] - before).max(-1) > 1e-4
    rows = np.flatnonzero(changed.any(1)) // cell
    assert len(rows)
    assert max(rows.max() - middle, middle - rows.min()) <= radius


@pytest.mark.parametrize(
    "name",
    [
        "hog-64",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("hog", "lbp", "lbp-64", "sift-64")),
    ],
)
def test_shipped_inverters_accept_photographs(name):
    inverter = tfinvert.load(name)
    assert inverter.any_size
    assert inverter.reconstruct(PHOTO[np.newaxis, :150, :201]).shape == (1, 150, 201, 3)


def test_an_inverter_of_one_size():
    assert not tfinvert.load("alexnet-conv5-64").any_size


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        ("hog-64", PHOTO[np.newaxis, :7], "at least 8×8 pixels. Received: .1, 7, 512, 3."),
        ("hog-64", PHOTO[:7], "at least 8×8 pixels. Received: .7, 512, 3."),
        ("hog-64", PHOTO[..., 0], r"images .B, H, W, 3. or .H, W, 3. .*Received: .512, 512."),
        ("hog-64", [PHOTO, PHOTO[:4]], "at least 8×8 pixels. Received: .4, 512, 3."),
        ("hog-64", np.full((1, 70, 70, 3), np.nan, "f4"), "NaN or infinite"),
        (
            "hog-64",
            PHOTO * 255,
            "8-bit values by 255, .* or clip. Received: values from 0 to 255",
        ),
        ("hog-64", PHOTO - 0.5, "Received: values from -0.5 to 0.5"),
        ("hog-64", PHOTO > 0.5, "uint8, or floating point in .0, 1.. Received: bool"),
        ("hog-64", [], "no images. Received: an empty list"),
        ("hog-64", [PHOTO[np.newaxis]], r"single images .*Received: .1, 512, 512, 3."),
        ("hog-64", {"image": PHOTO}, "Received: dict"),
        ("hog-64", "missing.png", "missing.png: No such file"),
        ("alexnet-conv5-64", [PHOTO[:64, :64], PHOTO[:64]], "files.*Received: .64, 512, 3."),
        ("alexnet-conv5-64", PHOTO[np.newaxis], ".B, 64, 64, 3."),
    ],
)
def test_wrong_images_are_rejected_in_one_line(name, images, message):
    inverter = tfinvert.load(name)
    for function in (inverter.reconstruct, inverter.encode):
        with pytest.raises(tfinvert.InputError, match=message) as error:
            function(images)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("hog-64", (100, 64), "multiples of 8. Received: 100×64"),
        ("alexnet-conv5-64", (128, 128), "64×64 pixels. *Received: 128×128"),
    ],
)
def test_wrong_sizes_are_rejected(name, size, message):
    with pytest.raises(tfinvert.InputError, match=message):
        tfinvert.load(name).at(size)


def test_wrong_features_are_rejected():
    inverter = tfinvert.load("hog-64")
    for shape in ((1, 8, 8, 30), (8, 31), (1, 0, 8, 31)):
        with pytest.raises(tfinvert.InputError, match="hog .*Received: "):
            inverter.invert(np.zeros(shape, "f4"))
    paper = untrained_inverter("hog", "paper")
    with pytest.raises(tfinvert.InputError, match="multiples of 2 .*Received: .1, 3, 8, 31."):
        paper.invert(np.zeros((1, 3, 8, 31), "f4"))
