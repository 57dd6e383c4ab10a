"""JPEG and PNG bytes → pixels inside the graph, as TensorFlow Serving runs it."""

import tensorflow as tf

MAX_PIXELS = 16 * 1024 * 1024
_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"


def decode_rgb(data: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """The image in one JPEG or PNG: a scalar string becomes uint8 `[H, W, 3]`.

    Grey, palette, 16-bit and CMYK images become RGB; transparent ones are laid on white. The
    camera's orientation tag is not followed.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes are no whole JPEG or PNG, or the
        header tells of more than `max_pixels`; in that case before memory is taken for the pixels.
    """
    size = _size_in_header(data)
    known = tf.debugging.Assert(
        tf.reduce_min(size) > 0, ["image_bytes must each hold a JPEG or PNG image"]
    )
    small = tf.debugging.Assert(
        tf.reduce_prod(size) <= max_pixels,
        [f"image_bytes: at most {max_pixels} pixels are accepted. Received (height, width):", size],
    )
    # The decoders take the bytes from here, so that they cannot run before the header has passed.
    with tf.control_dependencies([known, small]):
        admitted = tf.identity(data)
    return tf.cond(
        _starts_with(admitted, _JPEG),
        # The accurate transform gives the pixels that Pillow gives.
        lambda: tf.io.decode_jpeg(admitted, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: _decode_png(admitted),
    )


def _size_in_header(data: tf.Tensor) -> tf.Tensor:
    """(height, width) as int64, without decoding; zeros if it is neither JPEG nor PNG."""
    return tf.cond(
        _starts_with(data, _JPEG),
        lambda: tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64),
        lambda: tf.cond(
            _starts_with(data, _PNG) & (tf.strings.length(data) >= 33),
            lambda: _size_in_png_header(data),
            lambda: tf.zeros((2,), tf.int64),
        ),
    )


def _size_in_png_header(data: tf.Tensor) -> tf.Tensor:
    # 8 bytes of signature, 4 of length, 4 of "IHDR"; then width and height, big-endian.
    sides = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    return tf.cast(tf.ensure_shape(sides, (2,))[::-1], tf.int64)


def _starts_with(data: tf.Tensor, signature: bytes) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(signature)) == signature


def _decode_png(data: tf.Tensor) -> tf.Tensor:
    """A PNG becomes uint8 `[H, W, 3]`, on white paper where it is transparent."""
    image = tf.io.decode_png(data, channels=4)
    color, opacity = image[..., :3], image[..., 3:]
    # An image without transparency and of fewer than 8 bits comes with its own largest number, 1, 3
    # or 15, as the opacity of every pixel.
    depth = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)[0], tf.int32)
    largest = tf.cast(tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1, tf.uint8)
    opaque = tf.reduce_all(opacity == largest)
    return tf.cond(opaque, lambda: color, lambda: _on_white(color, opacity))


def _on_white(color: tf.Tensor, opacity: tf.Tensor) -> tf.Tensor:
    """uint8 `[H, W, 3]` and `[H, W, 1]` become uint8 `[H, W, 3]`."""
    color, opacity = tf.cast(color, tf.uint16), tf.cast(opacity, tf.uint16)  # 255 · 255 fits
    white = tf.constant(255, tf.uint16)
    return tf.cast((color * opacity + white * (white - opacity) + white // 2) // white, tf.uint8)
