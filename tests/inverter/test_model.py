"""`Inverter`: save, load, encode, invert, reconstruct; wrong input and damaged files."""

import contextlib
import json
import resource
import warnings
import zipfile

import keras
import numpy as np
import pytest

import tfinvert
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import Tap
from tfinvert.inverter import Inverter
from tfinvert.inverter.serialization import ARRAYS_FILE
from tfinvert.reporting.grids import write_png
from tfinvert.zoo.registry import CARD_FILE


@pytest.fixture
def saved(tiny_inverter, tmp_path):
    tiny_inverter.save(tmp_path / "saved")
    return tmp_path / "saved"


def assert_load_fails(path, *words):
    """Asserts that loading fails with one line that contains all the words, and returns it."""
    with pytest.raises(tfinvert.InputError) as error:
        tfinvert.load(path)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def replace_arrays(path, changes):
    """Replaces arrays in a saved inverter, or removes those that are None."""
    with np.load(path / ARRAYS_FILE) as file:
        arrays = dict(file)
    for name, array in changes.items():
        del arrays[name]
        if array is not None:
            arrays[name] = array
    np.savez(path / ARRAYS_FILE, **arrays)


def test_loaded_inverter_equals_the_saved_one(inverter, photos, tmp_path):
    inverter.save(tmp_path / "saved")
    saved, photos = tmp_path / "saved", photos[:16]
    loaded = tfinvert.load(saved)
    np.testing.assert_array_equal(loaded.reconstruct(photos), inverter.reconstruct(photos))
    values = np.random.default_rng(0).normal(size=(3, 8, 8, 31))
    np.testing.assert_array_equal(loaded.invert(values), inverter.invert(values))
    assert loaded.card == {"steps": 0}
    assert loaded.feature.get_config() == inverter.feature.get_config()
    # The arguments of initialisers differ between Keras versions; older ones would reject the file.
    assert "initializer" not in (saved / CARD_FILE).read_text()


def test_a_tilde_is_the_home_folder(tiny_inverter, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny_inverter.save("~/saved")
    assert (tmp_path / "saved" / CARD_FILE).exists()
    loaded = tfinvert.load("~/saved")
    write_png("~/x.png", photos[0])
    assert loaded.reconstruct("~/x.png").shape[-1] == 3
    with pytest.raises(tfinvert.InputError, match="already exists"):
        tiny_inverter.save("~/saved")


def test_reconstruct_is_invert_of_the_feature(inverter, photos):
    np.testing.assert_allclose(
        inverter.reconstruct(photos), inverter.invert(inverter.feature(photos)), atol=1e-6
    )
    assert inverter.reconstruct(photos).dtype == np.float32
    assert inverter.reconstruct(photos[:0]).shape == (0, 64, 64, 3)


def test_encode_is_the_feature(inverter, photos):
    features = inverter.encode(photos)
    assert isinstance(features, np.ndarray) and features.dtype == np.float32
    np.testing.assert_allclose(features, inverter.feature(photos), atol=1e-6)
    np.testing.assert_allclose(inverter.invert(features), inverter.reconstruct(photos), atol=1e-6)
    many = np.concatenate([photos, photos])  # more than fit into a batch
    np.testing.assert_allclose(inverter.encode(many)[len(photos) :], features, atol=1e-6)
    assert inverter.encode(photos[:0]).shape == (0, 8, 8, 31)


def test_reconstructions_are_clipped_to_images(inverter):
    clipped = inverter.invert(1e3 * np.random.default_rng(0).normal(size=(2, 8, 8, 31)))
    assert clipped.min() >= 0
    assert clipped.max() <= 1


def test_float16_halves_the_file_and_rounds_the_weights(tiny_inverter, saved, photos, tmp_path):
    inverter = tiny_inverter
    inverter.save(tmp_path / "small", "float16")
    sizes = [(path / ARRAYS_FILE).stat().st_size for path in (tmp_path / "small", saved)]
    assert sizes[0] < 0.6 * sizes[1]
    small = tfinvert.load(tmp_path / "small")
    np.testing.assert_allclose(small.reconstruct(photos), inverter.reconstruct(photos), atol=5e-3)
    small.round_weights("float16")
    np.testing.assert_array_equal(
        small.reconstruct(photos), tfinvert.load(tmp_path / "small").reconstruct(photos)
    )


def test_spread_is_a_deprecated_name(tiny_inverter):
    inverter = tiny_inverter
    with pytest.warns(DeprecationWarning, match="use Inverter.uncertainty_head"):
        assert inverter.spread is inverter.uncertainty_head
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert inverter.uncertainty_head is None


def test_an_existing_directory_is_not_overwritten(tiny_inverter, saved):
    before = (saved / CARD_FILE).read_bytes()
    with pytest.raises(tfinvert.InputError, match="already exists"):
        tiny_inverter.save(saved)
    assert (saved / CARD_FILE).read_bytes() == before


@pytest.mark.parametrize("file", [CARD_FILE, ARRAYS_FILE])
def test_missing_and_truncated_files(saved, file):
    data = (saved / file).read_bytes()
    for share in (0.0, 0.5, 0.99):
        (saved / file).write_bytes(data[: int(len(data) * share)])
        assert_load_fails(saved, f"{file} is damaged")
    (saved / file).unlink()
    assert_load_fails(saved, f"not a complete inverter: {file} is missing")


def test_a_flipped_bit_in_the_weights(saved):
    with zipfile.ZipFile(saved / ARRAYS_FILE) as archive:
        entry = max(archive.infolist(), key=lambda entry: entry.compress_size)
    data = bytearray((saved / ARRAYS_FILE).read_bytes())
    data[entry.header_offset + entry.compress_size // 2] ^= 1
    (saved / ARRAYS_FILE).write_bytes(data)
    assert_load_fails(saved, "weights.npz is damaged")


@pytest.mark.parametrize("count", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_flipped_bits_raise_no_other_error(saved, count):
    data = (saved / ARRAYS_FILE).read_bytes()
    for position in np.random.default_rng(0).integers(0, len(data), count):
        flipped = bytearray(data)
        flipped[position] ^= 16
        (saved / ARRAYS_FILE).write_bytes(flipped)
        with contextlib.suppress(tfinvert.InputError):  # a time stamp may change unnoticed
            tfinvert.load(saved)
    with zipfile.ZipFile(saved / ARRAYS_FILE, "w") as archive:
        archive.writestr("network/x.npy", b"not an array")
    assert_load_fails(saved, "weights.npz is damaged")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_name_of_a_weight_that_is_not_finite_is_reported(saved, value):
    name = "network/first/kernel"
    with np.load(saved / ARRAYS_FILE) as file:
        array = file[name]
    array.flat[5] = value
    replace_arrays(saved, {name: array})
    assert_load_fails(saved, f"a weight that is not finite, in {name}")


@pytest.mark.parametrize("name", ["more", "network/first/kernel"])
def test_an_archive_that_expands_too_far_is_rejected_at_once(saved, name):
    with np.load(saved / ARRAYS_FILE) as file:
        arrays = {key: array for key, array in file.items() if key != name}
    np.savez_compressed(saved / ARRAYS_FILE, **arrays)
    mebibyte = np.zeros(2**18, np.float32).tobytes()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**26,)}
    with (
        zipfile.ZipFile(saved / ARRAYS_FILE, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(f"{name}.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(256):
            member.write(mebibyte)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(tfinvert.InputError, match="expands to 2[0-9]{8} bytes, but at most [0-9]+"):
        tfinvert.load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def test_a_card_of_another_format_or_feature(saved):
    card = json.loads((saved / CARD_FILE).read_text())
    (saved / CARD_FILE).write_text(json.dumps(card | {"format": 99}))
    assert_load_fails(saved, "must have format 1, ", "Received: format 99")
    card["feature"]["name"] = "unheard_of"
    (saved / CARD_FILE).write_text(json.dumps(card))
    assert_load_fails(saved, "unknown feature 'unheard_of'")


def test_weights_of_another_network(saved):
    with np.load(saved / ARRAYS_FILE) as file:
        name = next(name for name in file if "network/image" in name)
    replace_arrays(saved, {name: None})
    assert_load_fails(saved, "do not match")


def test_an_unknown_inverter_lists_the_shipped_ones():
    assert_load_fails("nowhere", "there is no inverter at nowhere", *tfinvert.shipped())


def test_wrong_shapes(inverter, photos):
    with pytest.raises(tfinvert.InputError, match=r"any, any, 31\].* Received: \(1, 8, 8, 30\)"):
        inverter.invert(np.zeros((1, 8, 8, 30)))
    for function in (inverter.reconstruct, inverter.encode):
        with pytest.raises(tfinvert.InputError, match="RGB images .* at least 8×8 pixels"):
            function(photos[:, :5])
        with pytest.raises(tfinvert.InputError, match="NaN or infinite"):
            function(np.full_like(photos[:2], np.nan))


def test_a_network_for_another_feature(inverter):
    other = HostFeature(lambda image: image[::8, ::8], (8, 8, 3), name="small")
    with pytest.raises(tfinvert.InputError, match="does not fit the feature small"):
        Inverter(other, inverter.standardization, inverter.network)


def test_a_registered_host_feature_of_the_user_loads(tmp_path, photos):
    def make(image_shape=(64, 64, 3)):
        shape = (image_shape[0] // 8, image_shape[1] // 8, 3)
        return HostFeature(
            lambda image: image[::8, ::8], shape, name="every_eighth", image_shape=image_shape
        )

    tfinvert.features.register("every_eighth", make)
    feature = make()
    identity = Standardization(np.zeros(3, np.float32), np.ones(3, np.float32))
    images = keras.layers.Conv2DTranspose(3, 8, 8)(inputs := keras.Input((8, 8, 3)))
    first = Inverter(feature, identity, keras.Model(inputs, images))
    first.save(tmp_path / "own")
    second = tfinvert.load(tmp_path / "own")
    np.testing.assert_array_equal(second.reconstruct(photos), first.reconstruct(photos))


def test_a_run_directory_named_like_a_shipped_inverter_does_not_hide_it(
    tiny_inverter, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    name = "hog-64"
    assert name in tfinvert.shipped()
    (tmp_path / name / "checkpoints").mkdir(parents=True)
    assert tfinvert.load(name).card["steps"] > 0
    assert_load_fails(tmp_path / name, "is not a complete inverter")
    (tmp_path / name / "checkpoints").rmdir()
    (tmp_path / name).rmdir()
    tiny_inverter.save(tmp_path / name)
    assert tfinvert.load(name).card["steps"] == 0


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
    image = keras.layers.Conv2DTranspose(3, 8, 8)(features := keras.Input((8, 8, 4)))
    return Inverter(tap, identity, keras.Model(features, image))


@pytest.fixture
def saved_with_encoder(with_encoder, tmp_path):
    with_encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_an_inverter_is_saved_with_its_encoder(with_encoder, saved_with_encoder, photos):
    loaded = tfinvert.load(saved_with_encoder)
    np.testing.assert_array_equal(loaded.encode(photos), with_encoder.encode(photos))
    np.testing.assert_array_equal(loaded.reconstruct(photos), with_encoder.reconstruct(photos))
    assert loaded.feature.get_config() == {"image_shape": [64, 64, 3], "model": "gone.keras"}


def test_damaged_arrays_of_an_encoder(saved_with_encoder):
    original = (saved_with_encoder / ARRAYS_FILE).read_bytes()
    for array in (None, np.zeros((3, 3, 3, 4)), np.zeros(4), np.array("text"), np.zeros(0)):
        (saved_with_encoder / ARRAYS_FILE).write_bytes(original)
        replace_arrays(saved_with_encoder, {"encoder/0": array})
        message = assert_load_fails(saved_with_encoder)
        assert "not a complete inverter" in message or f"{ARRAYS_FILE} is damaged" in message


def replaced(value, path, new):
    """Returns a copy of JSON values with one of them replaced."""
    if not path:
        return new
    if isinstance(value, dict):
        return {k: replaced(v, path[1:], new) if k == path[0] else v for k, v in value.items()}
    return [replaced(v, path[1:], new) if i == path[0] else v for i, v in enumerate(value)]


def paths(value, prefix=()):
    yield prefix
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*prefix, key))


@pytest.mark.parametrize("key", ["encoder", "network"])
def test_an_entry_that_is_not_a_model(saved_with_encoder, key):
    card = json.loads((saved_with_encoder / CARD_FILE).read_text())
    for new in (None, "x", 3, [], {}):
        (saved_with_encoder / CARD_FILE).write_text(json.dumps({**card, key: new}))
        assert_load_fails(saved_with_encoder, "not a complete inverter")


@pytest.mark.parametrize(
    ("count", "failures"), [(12, 4), pytest.param(40, 15, marks=pytest.mark.slow)]
)
def test_a_damaged_card_raises_no_other_error(saved_with_encoder, count, failures):
    card = json.loads((saved_with_encoder / CARD_FILE).read_text())
    random = np.random.default_rng(0)
    everywhere = [path for part in ("encoder", "feature") for path in paths(card[part], (part,))]
    messages = []
    for index in random.choice(len(everywhere), count, replace=False):
        new = [None, "x", -3, [], {}][random.integers(5)]
        text = json.dumps(replaced(card, everywhere[index], new))
        (saved_with_encoder / CARD_FILE).write_text(text)
        try:  # a regulariser may change unnoticed
            tfinvert.load(saved_with_encoder)
        except tfinvert.InputError as error:
            messages.append(str(error))
    assert len(messages) > failures
    assert not [message for message in messages if "\n" in message]


def test_code_in_a_card_is_rejected(saved_with_encoder, tmp_path):
    marker = tmp_path / "marker"
    images = keras.Input((64, 64, 3))
    code = eval(f"lambda x: (__import__('pathlib').Path({str(marker)!r}).touch(), x[..., :1])[1]")
    layer = keras.layers.Lambda(code, output_shape=(64, 64, 1), name="code")
    model = keras.Model(images, layer(images))
    card = json.loads((saved_with_encoder / CARD_FILE).read_text())
    card["encoder"] = json.loads(model.to_json())
    (saved_with_encoder / CARD_FILE).write_text(json.dumps(card))
    assert_load_fails(saved_with_encoder, "Lambda")
    assert not marker.exists()


def test_an_encoder_of_another_network(saved_with_encoder):
    card = json.loads((saved_with_encoder / CARD_FILE).read_text())
    text = json.dumps(card["encoder"]).replace('"filters": 4', '"filters": 5')
    (saved_with_encoder / CARD_FILE).write_text(json.dumps({**card, "encoder": json.loads(text)}))
    assert_load_fails(saved_with_encoder, "do not match")


def test_without_its_encoder_the_models_file_is_needed(saved_with_encoder):
    card = json.loads((saved_with_encoder / CARD_FILE).read_text())
    del card["encoder"]
    (saved_with_encoder / CARD_FILE).write_text(json.dumps(card))
    assert assert_load_fails(saved_with_encoder).endswith("Received: gone.keras")
