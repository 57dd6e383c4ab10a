"""An inverter as one artefact: save, load, reconstruct, invert."""

import contextlib
import json
import resource
import zipfile

import keras
import numpy as np
import pytest

import tfinvert
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import Tap
from tfinvert.inverter import Inverter
from tfinvert.inverter.serialization import ARRAYS, CARD
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


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(saved, value):
    with np.load(saved / "weights.npz") as file:
        arrays = dict(file)
    name = "network/first/kernel"
    arrays[name].flat[5] = value
    np.savez_compressed(saved / "weights.npz", **arrays)
    with pytest.raises(tfinvert.InputError, match=f"a weight that is not finite, in {name}"):
        tfinvert.load(saved)


@pytest.mark.parametrize("name", ["more", "network/first/kernel"])
def test_an_archive_that_inflates_to_more_than_it_can_need_is_refused_at_once(saved, name):
    with np.load(saved / "weights.npz") as file:
        arrays = {key: array for key, array in file.items() if key != name}
    np.savez_compressed(saved / "weights.npz", **arrays)
    mebibyte = np.zeros(2**18, np.float32).tobytes()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**28,)}
    with (
        zipfile.ZipFile(saved / "weights.npz", "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{name}.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(1024):
            member.write(mebibyte)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(tfinvert.InputError, match="inflates to 1[0-9]{9} bytes; [0-9]+ are"):
        tfinvert.load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


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
    arrays.pop(next(name for name in arrays if "block1" in name))
    np.savez(saved / ARRAYS, **arrays)
    with pytest.raises(tfinvert.InputError, match="do not fit"):
        tfinvert.load(saved)


def test_no_such_inverter_names_the_shipped_ones():
    with pytest.raises(tfinvert.InputError, match="no inverter at nowhere"):
        tfinvert.load("nowhere")


def test_wrong_shapes(inverter, photos):
    with pytest.raises(tfinvert.InputError, match=r"any, any, 31\]. Received: \(1, 8, 8, 30\)"):
        inverter.invert(np.zeros((1, 8, 8, 30)))
    with pytest.raises(tfinvert.InputError, match="RGB images .* at least 8×8 pixels"):
        inverter.reconstruct(photos[:, :5])
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


def test_a_run_directory_named_like_a_shipped_inverter_does_not_hide_it(
    inverter, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    name = tfinvert.shipped()[0]
    (tmp_path / name / "checkpoints").mkdir(parents=True)
    assert tfinvert.load(name).card["steps"] > 0
    with pytest.raises(tfinvert.InputError, match="is not a whole inverter"):
        tfinvert.load(tmp_path / name)
    (tmp_path / name / "checkpoints").rmdir()
    (tmp_path / name).rmdir()
    inverter.save(tmp_path / name)
    assert tfinvert.load(name).card["steps"] == 0


def test_encode_is_the_feature(inverter, photos):
    features = inverter.encode(photos)
    assert isinstance(features, np.ndarray) and features.dtype == np.float32
    np.testing.assert_allclose(features, inverter.feature(photos), atol=1e-6)
    np.testing.assert_allclose(inverter.invert(features), inverter.reconstruct(photos), atol=1e-6)
    many = np.concatenate([photos, photos])  # more than fit into a batch
    np.testing.assert_allclose(inverter.encode(many)[len(photos) :], features, atol=1e-6)
    assert inverter.encode(photos[:0]).shape == (0, 8, 8, 31)


def test_encode_of_wrong_images(inverter, photos):
    with pytest.raises(tfinvert.InputError, match="RGB images .* at least 8×8 pixels"):
        inverter.encode(photos[:, :5])
    with pytest.raises(tfinvert.InputError, match="divide uint8 images by 255"):
        inverter.encode((photos * 255).astype(np.uint8))
    with pytest.raises(tfinvert.InputError, match="NaN or infinite"):
        inverter.encode(np.full_like(photos[:2], np.nan))


@pytest.fixture(scope="module")
def with_encoder():
    """An inverter of a model's layer, which is saved with the model."""
    keras.utils.set_random_seed(4)
    images = x = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(4, 8, 8, activation="relu", name="grid")(x)
    inner = keras.Model(images, keras.layers.BatchNormalization(name="normalised")(x))
    again = keras.Input((64, 64, 3))
    tap = Tap("keras/grid", keras.Model(again, inner(again)), {"model": "gone.keras"})
    identity = Standardization(np.zeros(4, np.float32), np.ones(4, np.float32))
    return Inverter(tap, identity, inversion.build(tap, width=0.03))


@pytest.fixture
def saved_with_encoder(with_encoder, tmp_path):
    with_encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


def load_refused(path):
    with pytest.raises(tfinvert.InputError) as error:
        tfinvert.load(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def rewrite(path, changes):
    """Replaces arrays, or leaves them out where that is None."""
    with np.load(path / ARRAYS) as file:
        arrays = dict(file)
    for name, array in changes.items():
        del arrays[name]
        if array is not None:
            arrays[name] = array
    np.savez(path / ARRAYS, **arrays)


def test_an_inverter_with_its_encoder_is_whole(with_encoder, saved_with_encoder, photos):
    loaded = tfinvert.load(saved_with_encoder)
    np.testing.assert_array_equal(loaded.encode(photos), with_encoder.encode(photos))
    np.testing.assert_array_equal(loaded.reconstruct(photos), with_encoder.reconstruct(photos))
    assert loaded.feature.get_config() == {"image_shape": [64, 64, 3], "model": "gone.keras"}


@pytest.mark.parametrize(
    "array", [None, np.zeros((3, 3, 3, 4)), np.zeros(4), np.array("text"), np.zeros(0)]
)
def test_damaged_arrays_of_an_encoder(saved_with_encoder, array):
    rewrite(saved_with_encoder, {"encoder/0": array})
    message = load_refused(saved_with_encoder)
    assert "not a whole inverter" in message or f"{ARRAYS} is damaged" in message


def change(value, path, new):
    """A copy of JSON values with one of them replaced."""
    if not path:
        return new
    if isinstance(value, dict):
        return {k: change(v, path[1:], new) if k == path[0] else v for k, v in value.items()}
    return [change(v, path[1:], new) if i == path[0] else v for i, v in enumerate(value)]


def paths(value, before=()):
    yield before
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*before, key))


@pytest.mark.parametrize("key", ["encoder", "network"])
@pytest.mark.parametrize("new", [None, "x", 3, [], {}])
def test_a_model_that_is_none(saved_with_encoder, key, new):
    card = json.loads((saved_with_encoder / CARD).read_text())
    (saved_with_encoder / CARD).write_text(json.dumps({**card, key: new}))
    assert "not a whole inverter" in load_refused(saved_with_encoder)


def test_a_card_damaged_anywhere_never_ends_in_another_error(saved_with_encoder):
    card = json.loads((saved_with_encoder / CARD).read_text())
    random = np.random.default_rng(0)
    everywhere = [path for part in ("encoder", "feature") for path in paths(card[part], (part,))]
    refusals = []
    for index in random.choice(len(everywhere), 40, replace=False):
        new = [None, "x", -3, [], {}][random.integers(5)]
        text = json.dumps(change(card, everywhere[index], new))
        (saved_with_encoder / CARD).write_text(text)
        try:  # a regulariser may change unnoticed
            tfinvert.load(saved_with_encoder)
        except tfinvert.InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 15
    assert not [message for message in refusals if "\n" in message]


def test_code_in_a_card_is_refused(saved_with_encoder, tmp_path):
    ran = tmp_path / "ran"
    images = keras.Input((64, 64, 3))
    code = eval(f"lambda x: (__import__('pathlib').Path({str(ran)!r}).touch(), x[..., :1])[1]")
    layer = keras.layers.Lambda(code, output_shape=(64, 64, 1), name="code")
    model = keras.Model(images, layer(images))
    card = json.loads((saved_with_encoder / CARD).read_text())
    card["encoder"] = json.loads(model.to_json())
    (saved_with_encoder / CARD).write_text(json.dumps(card))
    assert "Lambda" in load_refused(saved_with_encoder)
    assert not ran.exists()


def test_an_encoder_of_another_network(saved_with_encoder):
    card = json.loads((saved_with_encoder / CARD).read_text())
    text = json.dumps(card["encoder"]).replace('"filters": 4', '"filters": 5')
    (saved_with_encoder / CARD).write_text(json.dumps({**card, "encoder": json.loads(text)}))
    assert "do not fit" in load_refused(saved_with_encoder)


def test_without_its_encoder_a_layer_of_a_file_is_looked_for(saved_with_encoder):
    card = json.loads((saved_with_encoder / CARD).read_text())
    del card["encoder"]
    (saved_with_encoder / CARD).write_text(json.dumps(card))
    assert load_refused(saved_with_encoder).endswith("Received: gone.keras")
