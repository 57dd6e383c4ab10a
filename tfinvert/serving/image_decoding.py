"""JPEG and PNG bytes → pixels inside the graph, as TensorFlow Serving runs it."""

import tensorflow as tf

MAX_PIXELS = 16 * 1024 * 1024
MAX_SCANS = 100  # of a progressive JPEG; encoders make about ten
_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_SCAN = b"\xff\xda"
MAX_CHUNKS = 16384  # of a PNG; libpng writes one for every 8 kB
_HEADER = 33  # bytes: 8 of signature, 4 of length, 4 of "IHDR", 13 of numbers, 4 of checksum
_END = b"\0\0\0\0IEND\xaeB`\x82"


def decode_rgb(data: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """The image in one JPEG or PNG: a scalar string becomes uint8 `[H, W, 3]`.

    Grey, palette, 16-bit and CMYK images become RGB; transparent ones are laid on white. The
    camera's orientation tag is not followed.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes are no whole JPEG or PNG, the
        header tells of more than `max_pixels`, a JPEG has more than `MAX_SCANS` or a PNG more than
        `MAX_CHUNKS`; in those cases before memory, or time, is taken for the pixels.
    """
    size = read_header_size(data)
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
        lambda: _decode_jpeg(admitted),
        lambda: _decode_png(admitted),
    )


def read_header_size(data: tf.Tensor) -> tf.Tensor:
    """(height, width) of one file as int64, without decoding; zeros for no JPEG or PNG."""
    return tf.cond(
        _starts_with(data, _JPEG),
        lambda: tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64),
        lambda: tf.cond(
            _starts_with(data, _PNG) & (tf.strings.length(data) >= _HEADER),
            lambda: _size_in_png_header(data),
            lambda: tf.zeros((2,), tf.int64),
        ),
    )


def _size_in_png_header(data: tf.Tensor) -> tf.Tensor:
    sides = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
    return tf.cast(tf.reverse(tf.ensure_shape(sides, (2,)), [0]), tf.int64)


def _starts_with(data: tf.Tensor, signature: bytes) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(signature)) == signature


def _decode_jpeg(data: tf.Tensor) -> tf.Tensor:
    # Each scan is a pass over all pixels and may take a few bytes: a small file would take minutes.
    scans = tf.size(tf.strings.split(data[tf.newaxis], _SCAN).values) - 1
    few = tf.debugging.Assert(
        scans <= MAX_SCANS,
        [f"image_bytes: a JPEG of at most {MAX_SCANS} scans is accepted. Received:", scans],
    )
    with tf.control_dependencies([few]):
        admitted = tf.identity(data)
    # The accurate transform gives the pixels that Pillow gives.
    return tf.io.decode_jpeg(admitted, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(data: tf.Tensor) -> tf.Tensor:
    """A PNG becomes uint8 `[H, W, 3]`, on white paper where it is transparent."""
    image = tf.io.decode_png(_pixels_alone(data), channels=4)
    color, opacity = image[..., :3], image[..., 3:]
    # An image without transparency and of fewer than 8 bits comes with its own largest number, 1, 3
    # or 15, as the opacity of every pixel.
    depth = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)[0], tf.int32)
    largest = tf.cast(tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1, tf.uint8)
    opaque = tf.reduce_all(opacity == largest)
    return tf.cond(opaque, lambda: color, lambda: _on_white(color, opacity))


def _pixels_alone(data: tf.Tensor) -> tf.Tensor:
    """A PNG without what its pixels do not need: texts, colour profiles, further pictures.

    The decoder would take as much memory for them as they claim, gigabytes in some bytes.
    """
    size = tf.cast(tf.strings.length(data), tf.int64)

    def step(
        at: tf.Tensor, count: tf.Tensor, first: tf.Tensor, kept: tf.Tensor, over: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        claimed = tf.io.decode_raw(tf.strings.substr(data, at, 4), tf.int32, little_endian=False)[0]
        length = tf.where(claimed < 0, size, tf.cast(claimed, tf.int64))
        kind = tf.strings.substr(data, at + 4, 4)
        pixels = kind == b"IDAT"
        colors = ((kind == b"PLTE") | (kind == b"tRNS")) & (length <= 768)
        colors &= tf.strings.length(kept) < 2 * 768  # one of each: what is kept is copied each time
        over = (kind == b"IEND") | ((first > 0) & ~pixels)
        whole = tf.strings.substr(data, at, tf.where(colors & ~over, length + 12, 0))
        return (
            tf.where(over, at, tf.minimum(at + 12 + length, size)),
            count + 1,
            tf.where(pixels & (first == 0), at, first),
            kept + whole,
            over,
        )

    end, count, first, kept, _ = tf.while_loop(
        lambda at, count, first, kept, over: (at + 12 <= size) & (count < MAX_CHUNKS) & ~over,
        step,
        (tf.constant(_HEADER, tf.int64), 0, tf.constant(0, tf.int64), "", False),
        parallel_iterations=1,
    )
    few = tf.debugging.Assert(
        count < MAX_CHUNKS, [f"image_bytes: a PNG of at most {MAX_CHUNKS} chunks is accepted"]
    )
    with tf.control_dependencies([few]):
        found = tf.strings.substr(data, first, tf.where(first > 0, end - first, 0))
    return tf.strings.join([tf.strings.substr(data, 0, _HEADER), kept, found, _END])


def _on_white(color: tf.Tensor, opacity: tf.Tensor) -> tf.Tensor:
    """uint8 `[H, W, 3]` and `[H, W, 1]` become uint8 `[H, W, 3]`."""
    color, opacity = tf.cast(color, tf.uint16), tf.cast(opacity, tf.uint16)  # 255 · 255 fits
    white = tf.constant(255, tf.uint16)
    return tf.cast((color * opacity + white * (white - opacity) + white // 2) // white, tf.uint8)
