"""Sends hostile requests to an exported inverter in a process without Python.

    python benchmarks/hostile.py --requests=10000

generates them from a seed: truncated files, flipped bits, headers that declare gigabytes,
decompression bombs, other formats, unusual but valid files, and tensors of wrong ranks, empty, with
NaN or too large. Each must be answered in time, with an error that states the problem or, if the
file is an image after all, with a complete reconstruction; and the process must survive and stay
small. Prints the answers to each kind of request, the slowest answer and the peak memory, and
exits with status 1 if an answer was wrong.
"""

import tfinvert  # isort: skip  # before TensorFlow, for which it sets variables

import collections
import dataclasses
import functools
import io
import itertools
import pathlib
import re
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import c_program
import numpy as np
from absl import flags
from PIL import Image

from tfinvert.commands import runtime
from tfinvert.data.photos import load_photograph
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.serving import export_savedmodel

# Messages that state the problem; any other is a fault.
CLEAR = re.compile(
    r"must each hold a JPEG or PNG|at most \d+ pixels|Invalid PNG|Invalid JPEG|"
    r"is not compatible with|must hold at least one|must hold numbers in \[0, 1\]|"
    r"must be finite numbers|values that an image can give|at least \d+×\d+ pixels|"
    r"must be multiples of|at most \d+ scans|at most \d+ chunks"
)


@dataclasses.dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
      kind: description of its fault.
      endpoint: name of the endpoint.
      value: a float32 array, or the bytes of a file.
      must_fail: whether an image would be a wrong answer.
      shape: shape of the tensor that holds the file.
    """

    kind: str
    endpoint: str
    value: Any
    must_fail: bool = True
    shape: tuple[int, ...] = (1,)

    @property
    def output(self) -> str:
        """The requested output, one that every inverter has."""
        return "png_bytes" if self.endpoint == "reconstruct_bytes" else "reconstruction"


def make_request(seed: int, number: int, inverter: Inverter) -> Request:
    """Generates the request of a number; the first `NUM_KINDS` cover every kind once."""
    random = np.random.default_rng([seed, number])
    names = _kinds()
    name = names[number] if number < len(names) else names[random.integers(len(names))]
    if name in _SLOW and number >= len(names) and random.integers(20):
        name = "file with flipped bits"  # the slow ones would take most of the time
    if name in _FILES:
        make, must_fail = _FILES[name]
        return Request(name, "reconstruct_bytes", make(random), must_fail)
    if name in _TENSORS:
        return Request(name, "reconstruct_bytes", _png(_photo(random)), True, _TENSORS[name])
    endpoint = ("serving_default", "invert")[random.integers(2)]
    shape = inverter.feature.image_shape if endpoint != "invert" else inverter.feature.spec.shape
    value = _ARRAYS[name](random, random.random((2, *shape), np.float32))
    # A feature may be any number.
    is_valid = name == "8-bit numbers" and endpoint == "invert"
    return Request(name, endpoint, value, not is_valid)


def find_fault(request: Request, answer: bytes | None, error: str) -> str | None:
    """Returns what is wrong with an answer, or None."""
    if answer is None:
        return None if CLEAR.search(error) else f"unclear error: {error[:200]}"
    if request.must_fail:
        return "was not rejected"
    if request.endpoint != "reconstruct_bytes":
        return None if np.isfinite(np.frombuffer(answer, "<f4")).all() else "is not finite"
    with Image.open(io.BytesIO(answer)) as image:
        image.load()
        return None if image.mode == "RGB" else f"is {image.mode}"


def _photo(random: np.random.Generator) -> Image.Image:
    """Returns a crop of a photograph, with sides of 48 to 160 pixels."""
    image = load_photograph(("astronaut", "coffee", "chelsea")[random.integers(3)])
    height, width = random.integers(48, 161, 2)
    top = random.integers(image.shape[0] - height)
    left = random.integers(image.shape[1] - width)
    return Image.fromarray(image[top : top + height, left : left + width])


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _png(image: Image.Image) -> bytes:
    return _encode(image, "PNG")


def _valid_file(random: np.random.Generator) -> bytes:
    """Returns a JPEG, baseline or progressive, or a PNG."""
    image, progressive = _photo(random), bool(random.integers(2))
    if random.integers(2):
        return _png(image)
    return _encode(image, "JPEG", quality=int(random.integers(20, 100)), progressive=progressive)


def _truncated(random: np.random.Generator) -> bytes:
    data = _valid_file(random)
    # Decoders may not need the last bytes.
    return data[: random.integers(1, int(0.9 * len(data)))]


def _flipped(random: np.random.Generator, within: int | None = None) -> bytes:
    data = bytearray(_valid_file(random))
    for at in random.integers(0, min(within or len(data), len(data)), random.integers(1, 20)):
        data[at] ^= 1 << int(random.integers(8))
    return bytes(data)


def _chunk(kind: bytes, data: bytes, declared: int | None = None) -> bytes:
    length = struct.pack(">I", len(data) if declared is None else declared)
    return length + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _raw_png(width: int, height: int, depth: int, color: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _declares_png(random: np.random.Generator) -> bytes:
    """A PNG header with up to 2³¹ - 1 pixels a side, above every limit."""
    sides = [2**31 - 1, 2**31, 2**32 - 1, 65_536, 46_341, 23_171]
    width, height = (sides[i] for i in random.integers(0, len(sides), 2))
    data = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    return _raw_png(width, height, (8, 16)[random.integers(2)], (2, 6)[random.integers(2)], data)


def _declares_jpeg(random: np.random.Generator) -> bytes:
    """A JPEG frame header with up to 65 535 pixels a side."""
    data = bytearray(_encode(_photo(random), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", *random.integers(20_000, 65_536, 2))
    return bytes(data)


def _declares_chunk(random: np.random.Generator) -> bytes:
    """A PNG chunk that declares 2 GB."""
    kind = (b"IDAT", b"iCCP", b"tEXt", b"PLTE", b"zTXt", b"abCd")[random.integers(6)]
    oversized = _chunk(kind, random.bytes(200), 2**31 - int(random.integers(1, 3)))
    pixels = _chunk(b"IDAT", zlib.compress(bytes(64 * (1 + 64 * 3))))
    return _raw_png(64, 64, 8, 2, *[(oversized, pixels), (pixels, oversized)][random.integers(2)])


@functools.cache
def _compressed_zeros(zeros: int) -> bytes:
    return zlib.compress(bytes(zeros), 9)


def _bomb(random: np.random.Generator) -> bytes:
    """A few kB that decompress to hundreds of MB."""
    side = (8_000, 16_000, 24_000)[random.integers(3)]
    data = _compressed_zeros(side * (1 + side // 8))
    return _raw_png(side, side, 1, 0, _chunk(b"IDAT", data))


def _long_text(random: np.random.Generator) -> bytes:
    """A small image with a text or colour profile that decompresses to 100 MB."""
    data = _compressed_zeros(100_000_000)
    kind = (b"zTXt", b"iCCP")[random.integers(2)]
    pixels = zlib.compress(bytes(64 * (1 + 64 * 3)))
    return _raw_png(64, 64, 8, 2, _chunk(kind, b"a\0\0" + data), _chunk(b"IDAT", pixels))


def _declares_profile(random: np.random.Generator) -> bytes:
    """A small image with a colour profile whose header declares 2 GB."""
    profile = bytearray(132)
    profile[:4] = struct.pack(">I", 2**31 - 4)
    profile[12:24] = b"mntrRGB XYZ "
    profile[36:40] = b"acsp"
    profile[68:80] = bytes.fromhex("0000f6d6 00010000 0000d32d")
    profile[128:132] = struct.pack(">I", int(random.integers(1, 100)))
    chunk = _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(profile) + random.bytes(5000)))
    pixels = zlib.compress(bytes(64 * (1 + 64 * 3)))
    return _raw_png(64, 64, 8, 2, chunk, _chunk(b"IDAT", pixels))


def _many_chunks(random: np.random.Generator) -> bytes:
    """A small image with very many chunks before its pixels."""
    kind = (b"IDAT", b"tIME", b"tEXt", b"PLTE")[random.integers(4)]
    many = _chunk(kind, bytes(768)) * 17_000 if kind == b"PLTE" else _chunk(kind, b"") * 100_000
    pixels = zlib.compress(bytes(64 * (1 + 64 * 3)))
    return _raw_png(64, 64, 8, 2, many, _chunk(b"IDAT", pixels))


def _too_much_data(random: np.random.Generator) -> bytes:
    """A 64×64 image with 50 MB of rows."""
    return _raw_png(64, 64, 8, 2, _chunk(b"IDAT", _compressed_zeros(50_000_000)))


@functools.cache
def _grey_jpeg() -> bytes:
    return _encode(Image.new("L", (2048, 2048)), "JPEG", progressive=True)


def _many_scans(random: np.random.Generator) -> bytes:
    """A progressive JPEG of 4 megapixels with thousands of scans: slow to decode, small to send."""
    data = _grey_jpeg()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * int(random.integers(1_000, 5_000)) + data[-2:]


def _odd_header(random: np.random.Generator) -> bytes:
    """A PNG with an invalid combination of bit depth and colour type."""
    wrong = [(3, 2), (16, 3), (4, 6), (8, 1), (8, 5), (0, 0), (255, 255), (1, 2), (32, 2)]
    depth, color = wrong[random.integers(len(wrong))]
    return _raw_png(64, 64, depth, color, _chunk(b"IDAT", zlib.compress(bytes(64 * 300))))


def _no_size(random: np.random.Generator) -> bytes:
    width, height = [(0, 64), (64, 0), (0, 0)][random.integers(3)]
    if random.integers(2):
        return _raw_png(width, height, 8, 2, _chunk(b"IDAT", zlib.compress(bytes(100))))
    data = bytearray(_encode(_photo(random), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _another_format(random: np.random.Generator) -> bytes:
    kind = ("GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO")[random.integers(6)]
    return _encode(_photo(random), kind)


def _animated(random: np.random.Generator, kind: str) -> bytes:
    image = _photo(random)
    others = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)] * int(random.integers(1, 5))
    return _encode(image, kind, save_all=True, append_images=others)


def _sixteen_bits(random: np.random.Generator) -> bytes:
    grey = np.asarray(_photo(random).convert("L"), np.uint16)
    return _png(Image.fromarray(grey * 257))


def _interlaced(random: np.random.Generator) -> bytes:
    """An Adam7 image, which libpng buffers whole, with data for the first pass only."""
    header = struct.pack(">IIBBBBB", 128, 128, 8, 2, 0, 0, 1)
    data = _chunk(b"IDAT", zlib.compress(random.bytes(16 * (1 + 16 * 3))))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + data + _chunk(b"IEND", b"")


def _largest(random: np.random.Generator) -> bytes:
    return _png(Image.new("RGBA", (2048, 2048), (200, 30, 60, int(random.integers(256)))))


def _thin(random: np.random.Generator) -> bytes:
    """An image one pixel high or wide, which an inverter for one size enlarges."""
    long = int(random.integers(1, 5_000))
    return _png(Image.new("RGB", [(1, long), (long, 1)][random.integers(2)]))


# Kind of file → function that generates it, and whether it must be rejected.
_FILES: dict[str, tuple[Callable[[np.random.Generator], bytes], bool]] = {
    "truncated file": (_truncated, True),
    "file with flipped bits": (_flipped, False),
    "header with flipped bits": (lambda random: _flipped(random, 60), False),
    "PNG header that declares up to 2³¹ pixels a side": (_declares_png, True),
    "JPEG header that declares up to 65535 pixels a side": (_declares_jpeg, True),
    "PNG chunk that declares 2 GB": (_declares_chunk, False),
    "colour profile that declares 2 GB": (_declares_profile, False),
    "PNG of very many chunks": (_many_chunks, True),
    "PNG bomb": (_bomb, True),
    "PNG with 100 MB of text or profile": (_long_text, False),
    "PNG with 50 MB of excess rows": (_too_much_data, False),
    "JPEG of thousands of scans": (_many_scans, True),
    "PNG of an invalid bit depth": (_odd_header, True),
    "PNG or JPEG of size zero": (_no_size, True),
    "interlaced PNG without its data": (_interlaced, True),
    "GIF, BMP, WebP, TIFF, PPM or ICO": (_another_format, True),
    "animated GIF": (lambda random: _animated(random, "GIF"), True),
    "animated PNG": (lambda random: _animated(random, "PNG"), False),
    "CMYK JPEG": (lambda random: _encode(_photo(random).convert("CMYK"), "JPEG"), False),
    "16-bit PNG": (_sixteen_bits, False),
    "PNG of one row or column": (_thin, False),
    "PNG of 4 megapixels, transparent": (_largest, False),
    "PNG followed by other bytes": (
        lambda random: _png(_photo(random)) + random.bytes(random.integers(1, 9999)),
        False,
    ),
    "empty file": (lambda random: b"", True),
    "random bytes": (lambda random: random.bytes(random.integers(1, 99_999)), True),
    "signature and random bytes": (
        lambda random: (
            (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")[random.integers(2)]
            + random.bytes(random.integers(0, 9999))
        ),
        True,
    ),
}


_SLOW = {"PNG of 4 megapixels, transparent"}


def _with_one_of(values: np.ndarray, random: np.random.Generator, *numbers: float) -> np.ndarray:
    index = tuple(int(random.integers(side)) for side in values.shape)
    values[index] = numbers[random.integers(len(numbers))]
    return values


_ARRAYS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "array with NaN": lambda random, x: _with_one_of(x, random, np.nan),
    "array with an infinity": lambda random, x: _with_one_of(x, random, np.inf, -np.inf),
    "array of huge numbers": lambda random, x: (x - 0.5) * np.float32(3e38),
    "8-bit numbers": lambda random, x: 255 * x + 1,
    "empty batch": lambda random, x: x[:0],
    "image without a batch axis": lambda random, x: x[0],
    "array of too many axes": lambda random, x: x.reshape((1,) * random.integers(1, 4) + x.shape),
    "scalar": lambda random, x: x.reshape(-1)[0],
    "vector": lambda random, x: x.reshape(-1),
    "array of height zero": lambda random, x: x[:, :0],
    "array of other channels": lambda random, x: np.repeat(x, 2, axis=-1),
    "batch of too many images": lambda random, x: np.zeros((1100, *x.shape[1:]), np.float32),
}
_TENSORS = {
    "file without a batch": (),
    "files in a matrix": (2, 2),
    "batch of no files": (0,),
    "files of rank 6": (1, 1, 1, 1, 1, 1),
}


NUM_KINDS = len(_FILES) + len(_ARRAYS) + len(_TENSORS)


def _kinds() -> list[str]:
    return [*_FILES, *_ARRAYS, *_TENSORS]


class Server(Protocol):
    """A served model: a `c_program.Program`, or one with its interface."""

    def ask(
        self, endpoint: str, value: Any, output: str, shape: Any, seconds: float
    ) -> tuple[bytes | None, str]:
        """See `c_program.Program.ask`."""

    def peak_memory(self) -> float:
        """Returns the peak memory in GB."""


@dataclasses.dataclass
class Outcome:
    """The answers to the requests.

    Attributes:
      rejected: number of rejected requests by kind.
      answered: number of answered requests by kind.
      wrong: a line for each wrong answer.
      slowest: seconds and kind of the slowest answer.
      before: memory of the process in GB after one good request.
      peak: peak memory of the process in GB.
    """

    rejected: collections.Counter[str]
    answered: collections.Counter[str]
    wrong: list[str]
    slowest: tuple[float, str]
    before: float
    peak: float


def send(
    server: Server,
    inverter: Inverter,
    numbers: Iterable[int],
    seed: int = 0,
    seconds: float = 60.0,
    minutes: float = 60.0,
) -> Outcome:
    """Sends hostile requests to a server, with a good one before and after them.

    Args:
      server: serves the exported inverter.
      inverter: the inverter.
      numbers: numbers of the requests, see `make_request`.
      seed: random seed of the requests.
      seconds: time limit of an answer.
      minutes: time after which no more requests are sent.

    Raises:
      TimeoutError: an answer took longer than `seconds`.
      ConnectionError: the server ended.
    """
    outcome = Outcome(collections.Counter(), collections.Counter(), [], (0.0, ""), 0.0, 0.0)
    good = Request("good", "reconstruct_bytes", _png(Image.new("RGB", (64, 64))), False)
    assert _ask(server, good, seconds)[0]
    outcome.before = server.peak_memory()
    end = time.monotonic() + 60 * minutes
    for number in itertools.takewhile(lambda _: time.monotonic() < end, numbers):
        request = make_request(seed, number, inverter)
        begin = time.monotonic()
        answer, error = _ask(server, request, seconds)
        outcome.slowest = max(outcome.slowest, (time.monotonic() - begin, request.kind))
        (outcome.rejected if answer is None else outcome.answered)[request.kind] += 1
        if fault := find_fault(request, answer, error):
            outcome.wrong.append(f"request {number}, {request.kind}: {fault}")
    assert _ask(server, good, seconds)[0]
    outcome.peak = server.peak_memory()
    return outcome


def _ask(server: Server, request: Request, seconds: float) -> tuple[bytes | None, str]:
    return server.ask(request.endpoint, request.value, request.output, request.shape, seconds)


def main() -> None:
    """Sends the requests and prints the table."""
    if c_program.compiler() is None:
        raise InputError("no C compiler was found; install cc or gcc")
    options = flags.FLAGS
    inverter = tfinvert.load(options.inverter)
    with tempfile.TemporaryDirectory() as folder:
        model = export_savedmodel(inverter, pathlib.Path(folder, "model"))
        program = c_program.build(pathlib.Path(folder))
        begin = time.monotonic()
        with c_program.Program(program, model) as server:
            outcome = send(
                server,
                inverter,
                range(options.requests),
                options.seed,
                options.seconds,
                options.minutes,
            )
    duration = time.monotonic() - begin
    print("| request | rejected | answered |\n| --- | --- | --- |")
    for kind in _kinds():
        print(f"| {kind} | {outcome.rejected[kind]} | {outcome.answered[kind]} |")
    print(
        f"{outcome.rejected.total() + outcome.answered.total()} requests to {options.inverter} in "
        f"{duration:.0f} s: {outcome.rejected.total()} rejected, {outcome.answered.total()} "
        f"answered, {len(outcome.wrong)} of them wrongly; the slowest answer took "
        f"{outcome.slowest[0]:.1f} s ({outcome.slowest[1]}); "
        f"memory {outcome.before:.2f} GB before, {outcome.peak:.2f} GB at peak"
    )
    for line in outcome.wrong[:20]:
        print(line)
    sys.exit(bool(outcome.wrong))


if __name__ == "__main__":  # tests import this module beside others with such flags
    flags.DEFINE_string("inverter", "hog-64", "Inverter to export: a shipped name or a directory.")
    flags.DEFINE_integer("requests", 10_000, "Number of requests.", 1)
    flags.DEFINE_integer("seed", 0, "Random seed of the requests.")
    flags.DEFINE_float("seconds", 60.0, "Time limit of an answer, in seconds.")
    flags.DEFINE_float("minutes", 12.0, "Time after which no more requests are sent, in minutes.")
    runtime.run(main)
