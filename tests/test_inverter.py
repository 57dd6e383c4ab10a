"""An inverter as one artefact: save, load, reconstruct, invert."""

import contextlib
import json
import zipfile

import numpy as np
import pytest

import tfinvert
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import ARRAYS, CARD, Inverter
from tfinvert.networks import inversion


@pytest.fixture
def saved(inverter, tmp_path):
    inverter.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_loaded_inverter_is_the_saved_one_bit_for_bit(inverter, saved, photos):
    loaded = tfinvert.load(saved)
    np.testing.assert_array_equal(loaded.reconstruct(photos), inverter.reconstruct(photos))
    values = np.random.default_rng(0).normal(size=(3, 8, 8, 31))
    np.testing.assert_array_equal(loaded.invert(values), inverter.invert(values))
    assert loaded.card == {"steps": 0}
    assert loaded.feature.get_config() == inverter.feature.get_config()


def test_the_saved_network_says_nothing_of_initialisers(saved):
    # Their arguments differ between versions of Keras, and an older one would refuse the file.
    assert "initializer" not in (saved / CARD).read_text()


def test_reconstruct_is_invert_of_the_feature(inverter, photos):
    np.testing.assert_allclose(
        inverter.reconstruct(photos), inverter.invert(inverter.feature(photos)), atol=1e-6
    )
    assert inverter.reconstruct(photos).dtype == np.float32
    assert inverter.reconstruct(photos[:0]).shape == (0, 64, 64, 3)


def test_reconstructions_are_images(inverter, photos):
    wild = inverter.invert(1e3 * np.random.default_rng(0).normal(size=(2, 8, 8, 31)))
    assert wild.min() >= 0
    assert wild.max() <= 1


def test_float16_halves_the_file_and_rounds_the_weights(inverter, saved, photos, tmp_path):
    inverter.save(tmp_path / "small", "float16")
    sizes = [(path / ARRAYS).stat().st_size for path in (tmp_path / "small", saved)]
    assert sizes[0] < 0.6 * sizes[1]
    small = tfinvert.load(tmp_path / "small")
    np.testing.assert_allclose(small.reconstruct(photos), inverter.reconstruct(photos), atol=5e-3)
    small.round_weights("float16")
    np.testing.assert_array_equal(
        small.reconstruct(photos), tfinvert.load(tmp_path / "small").reconstruct(photos)
    )


def test_nothing_is_written_over(inverter, saved):
    before = (saved / CARD).read_bytes()
    with pytest.raises(tfinvert.InputError, match="exists already"):
        inverter.save(saved)
    assert (saved / CARD).read_bytes() == before


@pytest.mark.parametrize("file", [CARD, ARRAYS])
def test_missing_file(saved, file):
    (saved / file).unlink()
    with pytest.raises(tfinvert.InputError, match=f"not a whole inverter: {file} is missing"):
        tfinvert.load(saved)


@pytest.mark.parametrize("file", [CARD, ARRAYS])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_file(saved, file, share):
    data = (saved / file).read_bytes()
    (saved / file).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(tfinvert.InputError, match=f"{file} is damaged") as error:
        tfinvert.load(saved)
    assert "\n" not in str(error.value)


def test_a_flipped_bit_in_the_weights(saved):
    with zipfile.ZipFile(saved / ARRAYS) as archive:
        entry = max(archive.infolist(), key=lambda entry: entry.compress_size)
    data = bytearray((saved / ARRAYS).read_bytes())
    data[entry.header_offset + entry.compress_size // 2] ^= 1
    (saved / ARRAYS).write_bytes(data)
    with pytest.raises(tfinvert.InputError, match="weights.npz is damaged"):
        tfinvert.load(saved)


def test_bits_flipped_anywhere_never_end_in_another_error(saved):
    data = (saved / ARRAYS).read_bytes()
    for position in np.random.default_rng(0).integers(0, len(data), 60):
        flipped = bytearray(data)
        flipped[position] ^= 16
        (saved / ARRAYS).write_bytes(flipped)
        with contextlib.suppress(tfinvert.InputError):  # a time stamp may change unnoticed
            tfinvert.load(saved)
    with zipfile.ZipFile(saved / ARRAYS, "w") as archive:
        archive.writestr("network/x.npy", b"no array")
    with pytest.raises(tfinvert.InputError, match="weights.npz is damaged"):
        tfinvert.load(saved)


def test_card_of_another_format_or_feature(saved):
    card = json.loads((saved / CARD).read_text())
    (saved / CARD).write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(tfinvert.InputError, match="has format 99; this version reads format 1"):
        tfinvert.load(saved)
    card["feature"]["name"] = "unheard_of"
    (saved / CARD).write_text(json.dumps(card))
    with pytest.raises(tfinvert.InputError, match="unknown feature 'unheard_of'"):
        tfinvert.load(saved)


def test_weights_of_another_network(saved):
    with np.load(saved / ARRAYS) as file:
        arrays = dict(file)
    arrays.pop(next(name for name in arrays if "join" in name))
    np.savez(saved / ARRAYS, **arrays)
    with pytest.raises(tfinvert.InputError, match="do not fit"):
        tfinvert.load(saved)


def test_no_such_inverter_names_the_shipped_ones():
    with pytest.raises(tfinvert.InputError, match="no inverter at nowhere"):
        tfinvert.load("nowhere")


def test_wrong_shapes(inverter, photos):
    with pytest.raises(tfinvert.InputError, match=r"\[B, 8, 8, 31\]. Received: \(1, 8, 8, 30\)"):
        inverter.invert(np.zeros((1, 8, 8, 30)))
    with pytest.raises(tfinvert.InputError, match="made for images of shape"):
        inverter.reconstruct(photos[:, :32])
    with pytest.raises(tfinvert.InputError, match="divide uint8 images by 255"):
        inverter.reconstruct((photos * 255).astype(np.uint8))


def test_a_network_of_another_feature(inverter):
    other = HostFeature(lambda image: image[::8, ::8], (8, 8, 3), name="small")
    with pytest.raises(tfinvert.InputError, match="but small gives"):
        Inverter(other, inverter.standardization, inverter.network)


def test_a_host_feature_of_the_users_own_loads_once_registered(tmp_path, photos):
    def make(image_shape=(64, 64, 3)):
        shape = (image_shape[0] // 8, image_shape[1] // 8, 3)
        return HostFeature(
            lambda image: image[::8, ::8], shape, name="every_eighth", image_shape=image_shape
        )

    tfinvert.features.register("every_eighth", make)
    feature = make()
    identity = Standardization(np.zeros(3, np.float32), np.ones(3, np.float32))
    first = Inverter(feature, identity, inversion.build(feature, width=0.0625))
    first.save(tmp_path / "own")
    second = tfinvert.load(tmp_path / "own")
    np.testing.assert_array_equal(second.reconstruct(photos), first.reconstruct(photos))
