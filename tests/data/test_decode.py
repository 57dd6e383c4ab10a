"""Decoding of JPEG and PNG files: colour modes, metadata, damage and limits."""

import concurrent.futures
import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused
from tfinvert import InputError
from tfinvert.data.decode import decode_rgb, pillow_to_rgb, read_rgb

# The filter that decode.py sets, which pytest overrides.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")


def encoded(image, kind, **options):
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth(height=24, width=32):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 8, columns * 6, 200 - rows * 4], -1).astype(np.uint8)


def chunk(name, body):
    checked = name + body
    return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))


def png_of(rows, color, transparency=b""):
    """A PNG of 16 bits: `[h, w, channels]`, of a colour type, with a transparent value."""
    height, width = rows.shape[:2]
    lines = rows.astype(">u2").view(np.uint8).reshape(height, -1)
    data = zlib.compress(np.pad(lines, [(0, 0), (1, 0)]).tobytes())
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0))
    alpha = chunk(b"tRNS", transparency) if transparency else b""
    return b"\x89PNG\r\n\x1a\n" + header + alpha + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_chunk(data, behind, *new):
    """A PNG with one more chunk, before or behind its pixels."""
    place = data.index(b"IEND" if behind else b"IDAT") - 4
    return data[:place] + chunk(*new) + data[place:]


def png_header(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def refusal(data):
    with pytest.raises(InputError) as caught:
        decode_rgb(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_png_is_exact(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(smooth(), "PNG"))
    image = read_rgb(tmp_path / "a.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, smooth())
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "a.png")), smooth())


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_close(progressive):
    data = encoded(smooth(), "JPEG", quality=95, subsampling=0, progressive=progressive)
    assert np.abs(decode_rgb(data).astype(int) - smooth()).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_fills_the_three_channels(kind):
    image = decode_rgb(encoded(np.full((5, 7), 90, np.uint8), kind))
    np.testing.assert_array_equal(image, np.full((5, 7, 3), 90))


def test_black_and_white():
    image = Image.new("1", (3, 2))
    image.putpixel((1, 0), 1)
    decoded = decode_rgb(encoded(image, "PNG"))
    np.testing.assert_array_equal(decoded[0], [[0] * 3, [255] * 3, [0] * 3])


def test_16_bit_grey_is_scaled_not_clipped():
    grey = np.array([[0, 257, 32768, 40000, 65535]], np.uint16)
    decoded = decode_rgb(encoded(grey, "PNG"))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 1, 128, 156, 255])
    assert decoded.shape == (1, 5, 3)


def test_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(
        decode_rgb(encoded(image, "PNG")), [[[10, 20, 30], [200, 100, 50]]]
    )


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_transparent_palette_colour_becomes_white(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    decoded = decode_rgb(encoded(image, "PNG", transparency=transparency))
    np.testing.assert_array_equal(decoded, [[[255] * 3, [200, 100, 50]]])


def test_alpha_is_composited_onto_white():
    pixels = np.array([[[100, 0, 50, 255], [100, 0, 50, 0], [100, 0, 50, 102]]], np.uint8)
    expected = np.round(pixels[..., :3] * (pixels[..., 3:] / 255) + 255 - pixels[..., 3:])
    decoded = decode_rgb(encoded(pixels, "PNG"))
    np.testing.assert_allclose(decoded, expected, atol=1)
    np.testing.assert_array_equal(decoded[0, :2], [[100, 0, 50], [255, 255, 255]])


def test_grey_with_alpha_is_composited_onto_white():
    decoded = decode_rgb(encoded(Image.new("LA", (1, 1), (10, 128)), "PNG"))
    np.testing.assert_allclose(decoded[0, 0], 255 - (255 - 10) * 128 / 255, atol=1)


def test_cmyk_jpeg():
    colour = (200, 60, 30)
    cmyk = Image.new("RGB", (16, 16), colour).convert("CMYK")
    decoded = decode_rgb(encoded(cmyk, "JPEG", quality=95))
    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded.astype(int) - colour).max() <= 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_orientation_tag_is_applied(kind, orientation, turned):
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = np.repeat(np.repeat(smooth(2, 3) * 8, 8, 0), 8, 1)
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    decoded = decode_rgb(encoded(image, kind, exif=tags, **options))
    assert decoded.shape == turned(image).shape
    assert np.abs(decoded.astype(int) - turned(image)).max() <= 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("tags", [b"Exif\0\0MM\0*\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x01", b"E"])
def test_broken_metadata_is_ignored(kind, tags):
    assert decode_rgb(encoded(smooth(), kind, exif=tags)).shape == (24, 32, 3)


def test_one_pixel():
    np.testing.assert_array_equal(
        decode_rgb(encoded(np.full((1, 1, 3), 7, np.uint8), "PNG")), [[[7, 7, 7]]]
    )


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_rejected(kind):
    assert refusal(encoded(smooth(), kind)) == "not a JPEG or PNG image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_image(kind, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(noise, kind)
    assert "truncated or damaged image" in refusal(data[: int(kept * len(data))])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_image_with_metadata(kind):
    tags = Image.Exif()
    tags[0x0112] = 6
    data = encoded(smooth(), kind, exif=tags)
    assert "truncated or damaged image" in refusal(data[: int(0.8 * len(data))])


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"no image\n" * 99]
)
def test_invalid_bytes(data):
    assert "image" in refusal(data)


def every_mode():
    """Whole files of every mode of PNG and JPEG, with an orientation."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "camera"
    photo = Image.fromarray(smooth())
    modes = {mode: photo.convert(mode) for mode in ("1", "L", "LA", "RGB", "RGBA")}
    modes |= {"P": photo.quantize(16), "I;16": photo.convert("L").convert("I;16")}
    files = {f"PNG {mode}": encoded(image, "PNG", exif=tags) for mode, image in modes.items()}
    deep = np.random.default_rng(0).integers(0, 65536, (9, 7, 4))
    for color, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        alpha = deep[0, 0, :channels].astype(">u2").tobytes() if color < 4 else b""
        files[f"PNG of 16 bits, {channels}"] = png_of(deep[..., :channels], color, alpha)
    for mode in ("L", "RGB", "CMYK"):
        files[f"JPEG {mode}"] = encoded(photo.convert(mode), "JPEG", exif=tags)
    files["progressive JPEG"] = encoded(photo, "JPEG", exif=tags, progressive=True)
    return files


@pytest.mark.parametrize("name", every_mode())
def test_random_damage_gives_an_image_or_an_input_error(name):
    whole = every_mode()[name]
    draw, messages = np.random.default_rng(3), []
    for _ in range(150):
        data = bytearray(whole)
        begin, end = sorted(draw.integers(8, len(data), 2))
        match draw.integers(4):
            case 0:
                del data[begin:]
            case 1:
                del data[begin:end]
            case 2:
                data[draw.integers(8, min(80, len(data)))] ^= 1 << draw.integers(8)
            case _:
                for place in draw.integers(8, len(data), 3):
                    data[place] = draw.integers(256)
        try:
            assert decode_rgb(bytes(data)).shape[-1] == 3
        except InputError as error:
            messages.append(str(error))
    assert not any("\n" in message for message in messages)


METADATA = (
    *(b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"iCCP"),
    *(b"acTL", b"fcTL", b"fdAT", b"tIME", b"bKGD", b"hIST", b"sPLT", b"abCd"),
)


@pytest.mark.parametrize("kind", METADATA)
@pytest.mark.parametrize("behind", [False, True])
def test_malformed_chunks_do_not_matter(kind, behind):
    draw = np.random.default_rng(0)
    for name, whole in every_mode().items():
        for length in (0, 1, 3, 9, 30) if name.startswith("PNG") else ():
            data = with_chunk(whole, behind, kind, draw.bytes(length))
            np.testing.assert_array_equal(decode_rgb(data), decode_rgb(whole))


def test_chunks_with_wrong_checksums_do_not_matter():
    whole = encoded(smooth(), "PNG")
    bad = chunk(b"gAMA", b"abcd")[:-1] + b"!"
    place = whole.index(b"IDAT") - 4
    data = whole[:place] + bad + whole[place:]
    np.testing.assert_array_equal(decode_rgb(data), smooth())


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_large_metadata_does_not_matter(kind):
    body = b"name\0\0" + zlib.compress(bytes(2_000_000))
    data = with_chunk(encoded(smooth(), "PNG"), False, kind, body)
    np.testing.assert_array_equal(decode_rgb(data), smooth())


@pytest.mark.parametrize("behind", [False, True])
def test_the_orientation_survives_other_malformed_metadata(behind):
    tags = Image.Exif()
    tags[0x0112] = 6
    png = with_chunk(encoded(smooth(), "PNG", exif=tags), behind, b"gAMA", b"")
    np.testing.assert_array_equal(decode_rgb(png), np.rot90(smooth(), -1))


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE])
@pytest.mark.parametrize(
    "body", [b"", b"JFIF\0", b"Adobe", b"Photoshop 3.0\x008BIM", b"MPF\0MM\0*", b"Exif\0\0MM"]
)
def test_malformed_jpeg_segments_do_not_matter(marker, body):
    whole = encoded(smooth(), "JPEG")
    segment = bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body
    data = whole[:2] + segment + whole[2:]
    np.testing.assert_array_equal(decode_rgb(data), decode_rgb(whole))


def test_16_bit_grey_with_a_transparent_value():
    grey = np.array([[[300], [301], [40000]]])
    decoded = decode_rgb(png_of(grey, 0, (300).to_bytes(2, "big")))
    np.testing.assert_array_equal(decoded[0, :, 0], [255, 1, 156])


def test_16_bit_colour_with_a_transparent_value():
    pixels = np.array([[[300, 40000, 7], [300, 40000, 1000], [65535, 0, 0]]])
    decoded = decode_rgb(png_of(pixels, 2, pixels[0, 0].astype(">u2").tobytes()))
    np.testing.assert_array_equal(decoded[0], [[255] * 3, [1, 156, 3], [255, 0, 0]])


def test_16_bit_alpha():
    pixels = np.array([[[0, 65535], [0, 0], [65535, 32768]]])
    decoded = decode_rgb(png_of(pixels, 4))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 255, 255])


def test_transparency_behind_the_pixels_is_ignored():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    data = with_chunk(encoded(image, "PNG"), True, b"tRNS", b"\0")
    np.testing.assert_array_equal(decode_rgb(data), decode_rgb(encoded(image, "PNG")))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("F", (2, 2), 0.5), "mode F"),
        (Image.new("I", (2, 2), 70_000), "from 70000 to 70000"),
        (Image.new("I", (2, 2), -1), "from -1"),
    ],
)
def test_pillow_images_without_a_fixed_range_are_refused(image, words):
    refused(lambda: pillow_to_rgb(image), words)


def test_pillow_images_of_damaged_files_are_refused():
    data = encoded(smooth(), "PNG")
    for bad in (data[: len(data) // 2], with_chunk(data, True, b"gAMA", b"")):
        refused(lambda bad=bad: pillow_to_rgb(Image.open(io.BytesIO(bad))), "cannot be read")


@pytest.mark.parametrize("side", [9000, 10_000, 60_000, 2_000_000_000])
def test_decompression_bomb_is_rejected_before_memory_is_allocated(side, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_rgb(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "pixels" in message
    assert "\n" not in message


def test_max_pixels():
    data = encoded(smooth(), "PNG")
    assert decode_rgb(data, max_pixels=24 * 32).shape == (24, 32, 3)
    with pytest.raises(InputError, match="at most 767 are accepted. Received: 32×24"):
        decode_rgb(data, max_pixels=24 * 32 - 1)


def test_image_without_pixels():
    assert "image" in refusal(png_header(0, 5))


@pytest.mark.parametrize("make", ["missing", "folder", "empty", "garbage"])
def test_error_names_the_file(tmp_path, make):
    path = tmp_path / "x.jpg"
    if make == "folder":
        path.mkdir()
    elif make != "missing":
        path.write_bytes(b"" if make == "empty" else b"garbage")
    with pytest.raises(InputError) as caught:
        read_rgb(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_path_with_a_null_byte():
    with pytest.raises(InputError, match="null byte"):
        read_rgb("a\0b.png")


def test_decoding_in_threads_keeps_the_warning_filters():
    data = encoded(smooth(), "JPEG")
    before = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(decode_rgb, [data] * 400))) == 400
    assert warnings.filters == before
