"""Image files → RGB arrays. The one decoder of the host side."""

import io
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps

from tfinvert.errors import InputError

FORMATS = ("JPEG", "PNG")
EXTENSIONS = (".jpg", ".jpeg", ".png")
MAX_PIXELS = 64 * 1024 * 1024

# Pillow warns of odd metadata and of its own pixel bound. Set once: catch_warnings is not for
# threads, of which each would leave its own filters behind.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_rgb(path: str | pathlib.Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image in a JPEG or PNG file: uint8 `[H, W, 3]`, upright.

    Grey, palette, 16-bit and CMYK images become RGB; transparent ones are laid on white; the
    camera's orientation tag is followed.

    Raises:
      InputError: the file is missing, is no whole JPEG or PNG, or has more than `max_pixels`; the
        header decides, before memory is taken for the pixels.
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a name with a null byte
        raise InputError(f"{str(path)!r}: {error}") from error
    try:
        return decode_rgb(data, max_pixels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def decode_rgb(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """As `read_rgb`, from the file's bytes."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise InputError(
                    f"{image.width}×{image.height} pixels; at most {max_pixels} are accepted"
                )
            image.load()
            return _to_rgb(_upright(image))
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"too many pixels; at most {max_pixels} are accepted") from error
    except Image.UnidentifiedImageError as error:
        raise InputError("not a JPEG or PNG image") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise InputError(f"not a whole image ({error})") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken metadata, of which Pillow's parser raises what it stumbles over
        return image


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip at 255
        grey = np.asarray(image, np.float32) / 257.0
        return np.repeat(np.round(grey).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return np.asarray(image.convert("RGB"))
