"""Decoding of JPEG and PNG bytes with TensorFlow ops, for use in a served graph."""

import tensorflow as tf

MAX_PIXELS = 16 * 1024 * 1024
MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten
MAX_CHUNKS = 16384  # of a PNG; libpng writes one per 8 kB
_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_SCAN = b"\xff\xda"
_HEADER = 33  # bytes: signature 8, length 4, "IHDR" 4, fields 13, checksum 4
_END = b"\0\0\0\0IEND\xaeB`\x82"


def decode_rgb(data: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes one JPEG or PNG: a scalar string becomes uint8 `[H, W, 3]`.

    Grey, palette, 16-bit and CMYK images become RGB; transparent ones are composited on white. The
    EXIF orientation is ignored.

    Raises:
      tf.errors.InvalidArgumentError: at run time, if the bytes are not a complete JPEG or PNG, the
        header declares more than `max_pixels`, a JPEG has more than `MAX_SCANS` or a PNG more than
        `MAX_CHUNKS`. These limits are checked before pixels take memory or time.
    """
    size = read_header_size(data)
    is_image = tf.debugging.Assert(
        tf.reduce_min(size) > 0, ["image_bytes must each hold a JPEG or PNG image"]
    )
    is_small = tf.debugging.Assert(
        tf.reduce_prod(size) <= max_pixels,
        [
            f"image_bytes must have at most {max_pixels} pixels. Received (height, width):",
            size,
        ],
    )
    # The decoders read from this tensor, so they cannot run before the header has been checked.
    with tf.control_dependencies([is_image, is_small]):
        checked = tf.identity(data)
    return tf.cond(
        _starts_with(checked, _JPEG),
        lambda: _decode_jpeg(checked),
        lambda: _decode_png(checked),
    )


def read_header_size(data: tf.Tensor) -> tf.Tensor:
    """Reads (height, width) of one file as int64, without decoding; zeros if not a JPEG or PNG."""
    return tf.cond(
        _starts_with(data, _JPEG),
        lambda: tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64),
        lambda: tf.cond(
            _starts_with(data, _PNG) & (tf.strings.length(data) >= _HEADER),
            lambda: _read_png_size(data),
            lambda: tf.zeros((2,), tf.int64),
        ),
    )


def _read_png_size(data: tf.Tensor) -> tf.Tensor:
    sides = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    return tf.cast(tf.reverse(tf.ensure_shape(sides, (2,)), [0]), tf.int64)


def _starts_with(data: tf.Tensor, signature: bytes) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(signature)) == signature


def _decode_jpeg(data: tf.Tensor) -> tf.Tensor:
    # A scan is a pass over all pixels but may need few bytes, so a small file could take minutes.
    scans = tf.size(tf.strings.split(data[tf.newaxis], _SCAN).values) - 1
    has_few_scans = tf.debugging.Assert(
        scans <= MAX_SCANS,
        [f"image_bytes: a JPEG must have at most {MAX_SCANS} scans. Received:", scans],
    )
    with tf.control_dependencies([has_few_scans]):
        checked = tf.identity(data)
    # The accurate transform gives the same pixels as Pillow.
    return tf.io.decode_jpeg(checked, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(data: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG to uint8 `[H, W, 3]`, on white where it is transparent."""
    image = tf.io.decode_png(_strip_metadata(data), channels=4)
    color, opacity = image[..., :3], image[..., 3:]
    # The opacity of an opaque image of fewer than 8 bits is its own largest value: 1, 3 or 15.
    depth = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)[0], tf.int32)
    largest = tf.cast(tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1, tf.uint8)
    is_opaque = tf.reduce_all(opacity == largest)
    return tf.cond(is_opaque, lambda: color, lambda: _composite_on_white(color, opacity))


def _strip_metadata(data: tf.Tensor) -> tf.Tensor:
    """Removes what the pixels of a PNG do not need: texts, colour profiles, further images.

    The decoder would allocate as much memory for them as they declare: gigabytes for a few bytes.
    """
    size = tf.cast(tf.strings.length(data), tf.int64)

    def read_chunk(
        offset: tf.Tensor, count: tf.Tensor, first: tf.Tensor, kept: tf.Tensor, done: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        declared = tf.io.decode_raw(
            tf.strings.substr(data, offset, 4), tf.int32, little_endian=False
        )[0]
        length = tf.where(declared < 0, size, tf.cast(declared, tf.int64))
        kind = tf.strings.substr(data, offset + 4, 4)
        is_pixels = kind == b"IDAT"
        is_color = ((kind == b"PLTE") | (kind == b"tRNS")) & (length <= 768)
        is_color &= tf.strings.length(kept) < 2 * 768  # one of each: `kept` is copied each time
        done = (kind == b"IEND") | ((first > 0) & ~is_pixels)
        chunk = tf.strings.substr(data, offset, tf.where(is_color & ~done, length + 12, 0))
        return (
            tf.where(done, offset, tf.minimum(offset + 12 + length, size)),
            count + 1,
            tf.where(is_pixels & (first == 0), offset, first),
            kept + chunk,
            done,
        )

    end, count, first, kept, _ = tf.while_loop(
        lambda offset, count, first, kept, done: (
            (offset + 12 <= size) & (count < MAX_CHUNKS) & ~done
        ),
        read_chunk,
        (tf.constant(_HEADER, tf.int64), 0, tf.constant(0, tf.int64), "", False),
        parallel_iterations=1,
    )
    has_few_chunks = tf.debugging.Assert(
        count < MAX_CHUNKS, [f"image_bytes: a PNG must have at most {MAX_CHUNKS} chunks"]
    )
    with tf.control_dependencies([has_few_chunks]):
        pixels = tf.strings.substr(data, first, tf.where(first > 0, end - first, 0))
    return tf.strings.join([tf.strings.substr(data, 0, _HEADER), kept, pixels, _END])


def _composite_on_white(color: tf.Tensor, opacity: tf.Tensor) -> tf.Tensor:
    """Composites uint8 `[H, W, 3]` with opacity `[H, W, 1]` on white: uint8 `[H, W, 3]`."""
    color, opacity = tf.cast(color, tf.uint16), tf.cast(opacity, tf.uint16)  # 255 · 255 fits
    white = tf.constant(255, tf.uint16)
    return tf.cast((color * opacity + white * (white - opacity) + white // 2) // white, tf.uint8)
