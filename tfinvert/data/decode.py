"""Decoding of JPEG and PNG files, and of Pillow images, into RGB arrays on the host."""

import io
import pathlib
import struct
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image

from tfinvert.errors import InputError, first_line

FORMATS = ("JPEG", "PNG")
EXTENSIONS = (".jpg", ".jpeg", ".png")
MAX_PIXELS = 64 * 1024 * 1024
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH = 24  # position of the bits per channel
_PIXEL_CHUNKS, _ANCILLARY_CHUNKS = (b"IHDR", b"PLTE", b"IDAT"), (b"tRNS", b"eXIf")
# Bytes from which on libjpeg reads the colour space from the segments of JFIF and Adobe.
_JPEG_COLOR_SPACES = {0xE0: 14, 0xEE: 12}
_TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns about odd metadata and about its own pixel limit. The filter is set once, because
# catch_warnings is not thread safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_rgb(path: str | pathlib.Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a JPEG or PNG file: uint8 `[H, W, 3]`, upright.

    Grey, palette, 16-bit and CMYK images are converted to RGB; transparent images are composited
    onto white; the EXIF orientation is applied. Other metadata is ignored, also if it is damaged.

    Args:
      path: the file.
      max_pixels: the largest accepted number of pixels. It is compared with the file's header,
        before memory for the pixels is allocated.

    Raises:
      InputError: the file is missing, is not a complete JPEG or PNG image, or has more than
        `max_pixels`.
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a path with a null byte
        raise InputError(f"{str(path)!r}: {error}") from error
    try:
        return decode_rgb(data, max_pixels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def decode_rgb(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes the bytes of a JPEG or PNG file; see `read_rgb`."""
    for reduced in _with_less_metadata(data):
        try:
            return _decode(reduced, max_pixels)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InputError(f"too many pixels; at most {max_pixels} are accepted") from error
        except InputError:
            raise
        except Exception as error:  # Pillow's parsers raise many types, often for metadata alone
            problem = error
    if isinstance(problem, Image.UnidentifiedImageError):
        raise InputError("not a JPEG or PNG image") from problem
    raise InputError(f"truncated or damaged image ({first_line(problem)})") from problem


def pillow_to_rgb(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image to uint8 `[H, W, 3]`, upright, as `read_rgb` converts files.

    Raises:
      InputError: the image cannot be read, or its values have no fixed range (mode F).
    """
    try:
        image.load()
        return _to_rgb(_upright(image))
    except InputError:
        raise
    except Exception as error:  # an image that Pillow reads only now raises many types
        raise InputError(f"the Pillow image cannot be read ({first_line(error)})") from error


def _decode(data: bytes, max_pixels: int) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise InputError(
                f"too many pixels; at most {max_pixels} are accepted. Received: "
                f"{image.width}×{image.height}"
            )
        transparency = image.info.get("transparency")
        image.load()
        if image.info.get("transparency") != transparency:  # which other decoders ignore
            raise ValueError("transparency behind the pixels")
        if image.mode == "RGB" and transparency and data[_PNG_DEPTH] == 16:
            # Pillow keeps the upper bytes of the pixels, but whole numbers here.
            image.info["transparency"] = tuple(value >> 8 for value in transparency)
        return _to_rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # broken metadata, on which Pillow's parser raises all kinds of errors
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> np.ndarray:
    transparency = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(
                "integer images must have values from 0 to 65535; convert the image to mode RGB. "
                f"Received: values from {values.min()} to {values.max()}"
            )
        gray = np.round(values.astype(np.float32) / 257.0).astype(np.uint8)
        if transparency is not None:
            gray[values == transparency] = 255
        return np.repeat(gray[..., np.newaxis], 3, axis=-1)
    if image.mode == "F":
        raise InputError(
            "floating point Pillow images have no fixed range; convert the image to mode RGB, or "
            "pass an array in [0, 1]. Received: mode F"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return np.asarray(image.convert("RGB"))


def _with_less_metadata(data: bytes) -> Iterator[bytes]:
    """Yields a file as it is, with orientation and transparency only, and with its pixels only."""
    yield data
    strip = _strip_png if data.startswith(_PNG) else _strip_jpeg
    yield strip(data, True)
    yield strip(data, False)


def _strip_png(data: bytes, with_ancillary: bool) -> bytes:
    """Keeps the chunks of the pixels and, if wanted, those of orientation and transparency."""
    kept, begin, pixels_begun = [_PNG], len(_PNG), False
    while begin + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, begin)
        end = begin + 12 + length
        chunk = data[begin:end]
        if kind == b"IDAT":
            pixels_begun = True
        elif pixels_begun:
            break
        if kind in _PIXEL_CHUNKS or with_ancillary and kind in _ANCILLARY_CHUNKS:
            kept.append(chunk)
        begin = end
    return b"".join(kept)


def _strip_jpeg(data: bytes, with_exif: bool) -> bytes:
    """Keeps the segments of the pixels and, if wanted, those of EXIF."""
    kept, begin = [data[:2]], 2
    while begin + 4 <= len(data) and data[begin] == 0xFF:
        marker = data[begin + 1]
        if marker == 0xFF:  # padding
            begin += 1
            continue
        if marker == 0xDA:  # the first scan
            break
        end = begin + 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
        segment = data[begin:end]
        if marker in _JPEG_COLOR_SPACES:
            is_kept = len(segment) >= 4 + _JPEG_COLOR_SPACES[marker]
        elif 0xE1 <= marker <= 0xEF or marker == 0xFE:
            is_kept = with_exif and segment[4:10] == b"Exif\0\0"
        else:
            is_kept = True
        kept += [segment] * is_kept
        begin = end
    return b"".join([*kept, data[begin:]])
