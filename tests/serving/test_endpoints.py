"""Image decoding in the graph, and the endpoints' functions."""

import functools
import io
import struct
import zlib

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

from tfinvert.data.decode import decode_rgb as decode_on_host
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.networks import uncertainty
from tfinvert.serving.endpoints import make_endpoints
from tfinvert.serving.image_decoding import MAX_PIXELS, decode_rgb


def encoded(image, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, **{"format": "PNG"} | options)
    return file.getvalue()


def png_header(height, width):
    sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + sides + b"\x08\x02\0\0\0\0\0\0\0"


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def decode_in_graph(data):
    return decode_rgb(data)


@functools.cache
def endpoint(inverter, name):
    """Traces an endpoint, once for all batches."""
    (made,) = make_endpoints(inverter, [name])
    return tf.function(made.function, input_signature=[made.input], autograph=False)


def translucent():
    image = np.dstack([skimage.data.astronaut(), skimage.data.camera()])
    return encoded(Image.fromarray(image))


def palette_with_transparency():
    image = Image.fromarray(skimage.data.coffee()).quantize(16)
    return encoded(image, transparency=3)


FILES = {
    "jpeg": lambda: encoded(skimage.data.astronaut(), format="JPEG", quality=90),
    "progressive jpeg": lambda: encoded(skimage.data.coffee(), format="JPEG", progressive=True),
    "grey jpeg": lambda: encoded(skimage.data.camera(), format="JPEG"),
    "cmyk jpeg": lambda: encoded(
        Image.fromarray(skimage.data.astronaut()).convert("CMYK"), format="JPEG", quality=95
    ),
    "png": lambda: encoded(skimage.data.coffee()),
    "grey png": lambda: encoded(skimage.data.camera()),
    "grey png with alpha": lambda: encoded(
        Image.fromarray(np.dstack([skimage.data.camera(), skimage.data.moon()]))
    ),
    "16 bit grey png": lambda: encoded(skimage.data.camera().astype(np.uint16) * 257),
    "black and white png": lambda: encoded(Image.fromarray(skimage.data.horse())),
    "palette png of 2 bits": lambda: encoded(Image.fromarray(skimage.data.coffee()).quantize(4)),
    "palette png of 4 bits": lambda: encoded(Image.fromarray(skimage.data.coffee()).quantize(16)),
    "palette png of 8 bits": lambda: encoded(Image.fromarray(skimage.data.coffee()).quantize(64)),
    "png with alpha": translucent,
    "palette png with transparency": palette_with_transparency,
}


@pytest.mark.parametrize("name", FILES)
def test_the_graph_decodes_what_the_host_decodes(name):
    data = FILES[name]()
    expected = decode_on_host(data).astype(int)
    found = decode_in_graph(data).numpy()
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    difference = np.abs(found - expected)
    assert difference.max() <= 3
    assert difference.mean() < 0.5


def with_chunk(data, kind, body, behind=False):
    """A PNG with one more chunk, before or behind its pixels."""
    place = data.index(b"IEND" if behind else b"IDAT") - 4
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return data[:place] + struct.pack(">I", len(body)) + kind + body + checksum + data[place:]


def malformed_files():
    """Whole pixels with metadata that is malformed, large or invalid."""
    photo = encoded(skimage.data.coffee()[::8, ::8])
    grey = encoded(skimage.data.camera()[::8, ::8].astype(np.uint16) * 257)
    value = skimage.data.camera()[0, 0] * np.uint16(257)
    palette = encoded(Image.fromarray(skimage.data.coffee()[::8, ::8]).quantize(16))
    jpeg = encoded(skimage.data.coffee()[::8, ::8], format="JPEG")
    text = b"name\0\0" + zlib.compress(bytes(2_000_000))
    return {
        "short gamma": with_chunk(photo, b"gAMA", b"a"),
        "short gamma behind the pixels": with_chunk(photo, b"gAMA", b"a", behind=True),
        "large text": with_chunk(photo, b"zTXt", text),
        "large profile": with_chunk(photo, b"iCCP", text),
        "late transparency": with_chunk(palette, b"tRNS", bytes(16), behind=True),
        "short transparency": with_chunk(photo, b"tRNS", b"a"),
        "animation of no frames": with_chunk(photo, b"acTL", bytes(8)),
        "16-bit grey with transparency": with_chunk(grey, b"tRNS", int(value).to_bytes(2, "big")),
        "short jfif": jpeg[:2] + b"\xff\xe0\0\x07JFIF\0" + jpeg[2:],
        "short adobe": jpeg[:2] + b"\xff\xee\0\x07Adobe" + jpeg[2:],
        "short mpf": jpeg[:2] + b"\xff\xe2\0\x0aMPF\0MM\0*" + jpeg[2:],
    }


@pytest.mark.parametrize("name", malformed_files())
def test_host_and_graph_agree_on_malformed_metadata(name):
    data = malformed_files()[name]
    expected, found = decode_on_host(data).astype(int), decode_in_graph(data).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 3
    assert (expected == 255).all(-1).any() == (found == 255).all(-1).any()


def test_transparent_pixels_are_white():
    data = encoded(Image.new("RGBA", (5, 4), (200, 10, 10, 0)))
    assert (decode_in_graph(data).numpy() == 255).all()


GIF = encoded(skimage.data.astronaut()[:32, :32], format="GIF")
PHOTO_JPEG = encoded(skimage.data.coffee(), format="JPEG")
PHOTO_PNG = encoded(skimage.data.coffee())


def with_scans(times):
    """Returns a progressive JPEG whose last scan is repeated."""
    data = encoded(skimage.data.camera(), format="JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * times + data[-2:]


REJECTED = {
    "jpeg of many scans": (with_scans(100), "at most 100 scans"),
    "png of many chunks": (
        PHOTO_PNG[:33] + b"\0\0\0\0tIMEzzzz" * 20_000 + PHOTO_PNG[33:],
        "at most 16384 chunks",
    ),
    "nothing": (b"", "must each hold a JPEG or PNG"),
    "text": (b"not an image", "must each hold a JPEG or PNG"),
    "gif": (GIF, "must each hold a JPEG or PNG"),
    "bmp": (encoded(skimage.data.coffee(), format="BMP"), "must each hold a JPEG or PNG"),
    "png signature": (PHOTO_PNG[:8], "must each hold a JPEG or PNG"),
    "png of no size": (png_header(0, 10), "must each hold a JPEG or PNG"),
    "png of negative size": (png_header(2**32 - 9, 2**32 - 9), "must each hold a JPEG or PNG"),
    "png header alone": (png_header(8, 8), "Invalid PNG"),
    "half a png": (PHOTO_PNG[: len(PHOTO_PNG) // 2], "Invalid PNG"),
    "half a jpeg": (PHOTO_JPEG[: len(PHOTO_JPEG) // 2], "Invalid JPEG"),
    "jpeg garbage": (b"\xff\xd8\xff" + bytes(100), "Invalid JPEG"),
    "huge png": (png_header(2**31 - 1, 2**31 - 1), f"at most {MAX_PIXELS} pixels"),
    "png one row too large": (encoded(Image.new("1", (4096, 4097))), "4097 4096"),
    "jpeg one row too large": (
        encoded(Image.new("L", (4096, 4097)), format="JPEG"),
        f"at most {MAX_PIXELS} pixels",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_other_bytes_are_rejected(name):
    data, message = REJECTED[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_in_graph(data)


def chunk(kind, data, declared=None):
    length = len(data) if declared is None else declared
    return struct.pack(">I", length) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_png_chunks_that_the_pixels_do_not_need_are_ignored():
    """The decoder would allocate as much memory as they declare."""
    for name in ("png", "palette png with transparency", "16 bit grey png", "png with alpha"):
        data = FILES[name]()
        pixels, end = data.index(b"IDAT") - 4, len(data) - 12
        text = chunk(b"tEXt", b"a\0b") + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))
        larger = data[:pixels] + text + data[pixels:end] + chunk(b"tEXt", b"a\0", 2**31 - 1)
        np.testing.assert_array_equal(decode_in_graph(larger), decode_in_graph(data))


def test_as_many_scans_as_encoders_write_are_accepted():
    assert decode_in_graph(with_scans(20)).shape == (512, 512, 3)


def test_as_many_pixels_as_the_bound_are_accepted():
    assert decode_in_graph(encoded(Image.new("1", (4096, 4096)))).shape == (4096, 4096, 3)


def test_a_png_of_the_features_size_gives_what_the_image_gives(inverter, photo):
    expected = inverter.reconstruct(photo[np.newaxis].astype(np.float32) / 255)
    assert expected.std() > 0.02
    outputs = endpoint(inverter, "reconstruct_bytes")(tf.constant([encoded(photo)]))
    np.testing.assert_allclose(outputs["reconstruction"], expected, atol=1e-5)
    pixels = decode_on_host(outputs["png_bytes"].numpy()[0])
    np.testing.assert_allclose(pixels / 255, expected[0], atol=0.5001 / 255)


def test_a_batch_of_several_sizes_and_formats(inverter, photo):
    files = [encoded(photo), FILES["jpeg"](), FILES["grey png"]()]
    reconstruct = endpoint(inverter, "reconstruct_bytes")
    together = reconstruct(tf.constant(files))
    assert together["png_bytes"].shape == (3,)
    for i, file in enumerate(files):
        alone = reconstruct(tf.constant([file]))["reconstruction"][0]
        np.testing.assert_allclose(together["reconstruction"][i], alone, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["inverter", pytest.param("any_size_inverter", marks=pytest.mark.slow)]
)
def test_a_batch_of_files_gives_what_each_file_gives_alone(request, name, photo):
    reconstruct = endpoint(request.getfixturevalue(name), "reconstruct_bytes")
    for sides in ((64, 64), (64, 50)):  # files of one size, and of two
        files = [encoded(photo[:, :side]) for side in sides]
        together = reconstruct(tf.constant(files))["png_bytes"].numpy()
        for file, found in zip(files, together, strict=True):
            alone = reconstruct(tf.constant([file]))["png_bytes"].numpy()[0]
            difference = decode_on_host(found).astype(int) - decode_on_host(alone)
            assert np.abs(difference).max() <= 1


def test_uncertainty_is_an_output(inverter, photo):
    head = uncertainty.build_head(inverter.network)
    for weight in head.weights:
        weight.assign(weight + 0.01)
    parts = inverter.feature, inverter.standardization, inverter.network, {}
    with_head = Inverter(*parts, uncertainty.UncertaintyHead(head, np.ones(3, "f4")))
    images = photo[np.newaxis].astype(np.float32) / 255
    features = with_head.encode(images)
    for name, value in (("serving_default", images), ("invert", features)):
        found = endpoint(with_head, name)(tf.constant(value))
        np.testing.assert_allclose(found["reconstruction"], inverter.invert(features), atol=1e-5)
        np.testing.assert_allclose(found["uncertainty"], with_head.uncertainty(features), rtol=1e-3)


def test_one_bad_image_fails_its_batch(inverter, photo):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must each hold"):
        endpoint(inverter, "reconstruct_bytes")(tf.constant([encoded(photo), GIF]))


def test_the_largest_central_crop_is_used(inverter, photo):
    wide = np.pad(photo, [(0, 0), (30, 30), (0, 0)])
    reconstruct = endpoint(inverter, "reconstruct_bytes")
    both = reconstruct(tf.constant([encoded(photo), encoded(wide)]))["reconstruction"]
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)


def test_a_host_feature_has_no_image_endpoints(host_inverter):
    with pytest.raises(InputError, match="sift.*--endpoints=invert"):
        make_endpoints(host_inverter)
    assert [one.name for one in make_endpoints(host_inverter, ["invert"])] == ["invert"]


@pytest.mark.parametrize("names", [(), ("predict",), ("invert", "predict")])
def test_unknown_endpoints_are_rejected(inverter, names):
    with pytest.raises(InputError, match="--endpoints must be one or more of serving_default"):
        make_endpoints(inverter, names)
