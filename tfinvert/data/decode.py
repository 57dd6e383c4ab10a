"""Decoding of JPEG and PNG files, and of Pillow images, into RGB arrays on the host."""

import io
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps

from tfinvert.errors import InputError

FORMATS = ("JPEG", "PNG")
EXTENSIONS = (".jpg", ".jpeg", ".png")
MAX_PIXELS = 64 * 1024 * 1024

# Pillow warns about odd metadata and about its own pixel limit. The filter is set once, because
# catch_warnings is not thread safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_rgb(path: str | pathlib.Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a JPEG or PNG file: uint8 `[H, W, 3]`, upright.

    Grey, palette, 16-bit and CMYK images are converted to RGB; transparent images are composited
    onto white; the EXIF orientation is applied.

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
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise InputError(
                    f"too many pixels; at most {max_pixels} are accepted. Received: "
                    f"{image.width}×{image.height}"
                )
            image.load()
            return pillow_to_rgb(image)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"too many pixels; at most {max_pixels} are accepted") from error
    except Image.UnidentifiedImageError as error:
        raise InputError("not a JPEG or PNG image") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise InputError(f"truncated or damaged image ({error})") from error


def pillow_to_rgb(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image to uint8 `[H, W, 3]`, upright, as `read_rgb` converts files."""
    return _to_rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken metadata, on which Pillow's parser raises all kinds of errors
        return image


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
        gray = np.asarray(image, np.float32) / 257.0
        return np.repeat(np.round(gray).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return np.asarray(image.convert("RGB"))
