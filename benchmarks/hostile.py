"""Requests that nobody should send, to an exported inverter in a process without Python.

    python benchmarks/hostile.py --requests=10000

draws them from a seed: files cut and with bits flipped, headers that claim gigabytes, compressed
bombs, other formats, unusual but valid files, tensors of wrong ranks, empty, NaN, too large. Each
must be answered in time, by an error that says what is wrong or, where the file is an image after
all, by a whole reconstruction; and the process must live and stay small. Prints what came of each
kind, the slowest answer and the most memory. Status 1 where something was not as it must be.
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
from collections.abc import Callable
from typing import Any

import c_program
import numpy as np
from absl import flags
from PIL import Image

from tfinvert.commands import runtime
from tfinvert.data.photos import load_photograph
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.serving import export_savedmodel

# What an error may say; anything else would not help the one who reads it.
CLEAR = re.compile(
    r"must each hold a JPEG or PNG|at most \d+ pixels|Invalid PNG|Invalid JPEG|"
    r"is not compatible with|holds at least one|hold numbers in \[0, 1\]|are finite numbers|"
    r"of sizes that an image gives|at least \d+×\d+ pixels|sides that are multiples of|"
    r"at most \d+ scans|at most \d+ chunks"
)


@dataclasses.dataclass(frozen=True)
class Request:
    """A request, and whether it can only be refused.

    Attributes:
      kind: what is wrong with it, in words.
      endpoint: what is asked.
      value: a float32 array or the bytes of a file.
      refused: whether a picture would be a wrong answer.
      shape: of the tensor that holds the file.
    """

    kind: str
    endpoint: str
    value: Any
    refused: bool = True
    shape: tuple[int, ...] = (1,)

    @property
    def output(self) -> str:
        """The output that is asked for: of files the one that every inverter gives."""
        return "png_bytes" if self.endpoint == "reconstruct_bytes" else "reconstruction"


def draw(seed: int, number: int, inverter: Inverter) -> Request:
    """The request of that number; the first ones go once through all kinds."""
    random = np.random.default_rng([seed, number])
    names = [*_FILES, *_ARRAYS, *_TENSORS]
    name = names[number] if number < len(names) else names[random.integers(len(names))]
    if name in _LONG and number >= len(names) and random.integers(20):
        name = "file with bits flipped"  # or they would take most of the time
    if name in _FILES:
        make, refused = _FILES[name]
        return Request(name, "reconstruct_bytes", make(random), refused)
    if name in _TENSORS:
        return Request(name, "reconstruct_bytes", _png(_photo(random)), True, _TENSORS[name])
    endpoint = ("serving_default", "invert")[random.integers(2)]
    shape = inverter.feature.image_shape if endpoint != "invert" else inverter.feature.spec.shape
    value = _ARRAYS[name](random, random.random((2, *shape), np.float32))
    # Sizes that are free are no mistake, and a feature may be any number.
    free = name == "numbers of 8 bits" and endpoint == "invert"
    return Request(name, endpoint, value, not free)


def complaint(request: Request, answer: bytes | None, error: str) -> str | None:
    """What is wrong with an answer, or None."""
    if answer is None:
        return None if CLEAR.search(error) else f"the error says: {error[:200]}"
    if request.refused:
        return "was not refused"
    if request.endpoint != "reconstruct_bytes":
        return None if np.isfinite(np.frombuffer(answer, "<f4")).all() else "is not finite"
    with Image.open(io.BytesIO(answer)) as image:
        image.load()
        return None if image.mode == "RGB" else f"is {image.mode}"


def _photo(random: np.random.Generator) -> Image.Image:
    """A crop of a photograph, with sides of 48 to 160 pixels."""
    image = load_photograph(("astronaut", "coffee", "chelsea")[random.integers(3)])
    height, width = random.integers(48, 161, 2)
    top = random.integers(image.shape[0] - height)
    left = random.integers(image.shape[1] - width)
    return Image.fromarray(image[top : top + height, left : left + width])


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _png(image: Image.Image) -> bytes:
    return _saved(image, "PNG")


def _either(random: np.random.Generator) -> bytes:
    """A JPEG, plain or progressive, or a PNG."""
    image, progressive = _photo(random), bool(random.integers(2))
    if random.integers(2):
        return _png(image)
    return _saved(image, "JPEG", quality=int(random.integers(20, 100)), progressive=progressive)


def _cut(random: np.random.Generator) -> bytes:
    data = _either(random)
    # Not the very end, after which a decoder need not ask.
    return data[: random.integers(1, int(0.9 * len(data)))]


def _flipped(random: np.random.Generator, within: int | None = None) -> bytes:
    data = bytearray(_either(random))
    for at in random.integers(0, min(within or len(data), len(data)), random.integers(1, 20)):
        data[at] ^= 1 << int(random.integers(8))
    return bytes(data)


def _chunk(kind: bytes, data: bytes, claimed: int | None = None) -> bytes:
    length = struct.pack(">I", len(data) if claimed is None else claimed)
    return length + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _raw_png(width: int, height: int, depth: int, color: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _claims_png(random: np.random.Generator) -> bytes:
    """A header of up to 2³¹ - 1 pixels a side, beyond every limit together."""
    sides = [2**31 - 1, 2**31, 2**32 - 1, 65_536, 46_341, 23_171]
    width, height = (sides[i] for i in random.integers(0, len(sides), 2))
    data = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    return _raw_png(width, height, (8, 16)[random.integers(2)], (2, 6)[random.integers(2)], data)


def _claims_jpeg(random: np.random.Generator) -> bytes:
    """A frame header of up to 65 535 pixels a side."""
    data = bytearray(_saved(_photo(random), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", *random.integers(20_000, 65_536, 2))
    return bytes(data)


def _claims_chunk(random: np.random.Generator) -> bytes:
    """A chunk that claims 2 GB."""
    kind = (b"IDAT", b"iCCP", b"tEXt", b"PLTE", b"zTXt", b"abCd")[random.integers(6)]
    claims = _chunk(kind, random.bytes(200), 2**31 - int(random.integers(1, 3)))
    pixels = _chunk(b"IDAT", zlib.compress(bytes(64 * (1 + 64 * 3))))
    return _raw_png(64, 64, 8, 2, *[(claims, pixels), (pixels, claims)][random.integers(2)])


@functools.cache
def _squeezed(zeros: int) -> bytes:
    return zlib.compress(bytes(zeros), 9)


def _bomb(random: np.random.Generator) -> bytes:
    """Some kB that would be hundreds of MB."""
    side = (8_000, 16_000, 24_000)[random.integers(3)]
    data = _squeezed(side * (1 + side // 8))
    return _raw_png(side, side, 1, 0, _chunk(b"IDAT", data))


def _long_text(random: np.random.Generator) -> bytes:
    """A small image with a text, or a colour profile, that swells to 100 MB."""
    data = _squeezed(100_000_000)
    kind = (b"zTXt", b"iCCP")[random.integers(2)]
    pixels = zlib.compress(bytes(64 * (1 + 64 * 3)))
    return _raw_png(64, 64, 8, 2, _chunk(kind, b"a\0\0" + data), _chunk(b"IDAT", pixels))


def _claims_profile(random: np.random.Generator) -> bytes:
    """A small image with a colour profile whose own header claims 2 GB."""
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
    """64×64 pixels whose rows go on for 50 MB."""
    return _raw_png(64, 64, 8, 2, _chunk(b"IDAT", _squeezed(50_000_000)))


@functools.cache
def _grey_jpeg() -> bytes:
    return _saved(Image.new("L", (2048, 2048)), "JPEG", progressive=True)


def _many_scans(random: np.random.Generator) -> bytes:
    """A progressive JPEG of 4 megapixels and thousands of scans: much work, little to send."""
    data = _grey_jpeg()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * int(random.integers(1_000, 5_000)) + data[-2:]


def _odd_header(random: np.random.Generator) -> bytes:
    """A PNG with a depth and colour type that do not exist together."""
    wrong = [(3, 2), (16, 3), (4, 6), (8, 1), (8, 5), (0, 0), (255, 255), (1, 2), (32, 2)]
    depth, color = wrong[random.integers(len(wrong))]
    return _raw_png(64, 64, depth, color, _chunk(b"IDAT", zlib.compress(bytes(64 * 300))))


def _no_size(random: np.random.Generator) -> bytes:
    width, height = [(0, 64), (64, 0), (0, 0)][random.integers(3)]
    if random.integers(2):
        return _raw_png(width, height, 8, 2, _chunk(b"IDAT", zlib.compress(bytes(100))))
    data = bytearray(_saved(_photo(random), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _another_format(random: np.random.Generator) -> bytes:
    kind = ("GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO")[random.integers(6)]
    return _saved(_photo(random), kind)


def _animated(random: np.random.Generator, kind: str) -> bytes:
    image = _photo(random)
    others = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)] * int(random.integers(1, 5))
    return _saved(image, kind, save_all=True, append_images=others)


def _sixteen_bits(random: np.random.Generator) -> bytes:
    grey = np.asarray(_photo(random).convert("L"), np.uint16)
    return _png(Image.fromarray(grey * 257))


def _interlaced(random: np.random.Generator) -> bytes:
    """Adam7, whose passes libpng keeps whole, with data for none of them but the first."""
    header = struct.pack(">IIBBBBB", 128, 128, 8, 2, 0, 0, 1)
    data = _chunk(b"IDAT", zlib.compress(random.bytes(16 * (1 + 16 * 3))))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + data + _chunk(b"IEND", b"")


def _largest(random: np.random.Generator) -> bytes:
    return _png(Image.new("RGBA", (2048, 2048), (200, 30, 60, int(random.integers(256)))))


def _thin(random: np.random.Generator) -> bytes:
    """One pixel high or wide, which an inverter for one size enlarges."""
    long = int(random.integers(1, 5_000))
    return _png(Image.new("RGB", [(1, long), (long, 1)][random.integers(2)]))


# What a file is → how it is made, and whether it can only be refused.
_FILES: dict[str, tuple[Callable[[np.random.Generator], bytes], bool]] = {
    "file cut short": (_cut, True),
    "file with bits flipped": (_flipped, False),
    "header with bits flipped": (lambda random: _flipped(random, 60), False),
    "PNG header that claims up to 2³¹ pixels a side": (_claims_png, True),
    "JPEG header that claims up to 65535 pixels a side": (_claims_jpeg, True),
    "PNG chunk that claims 2 GB": (_claims_chunk, False),
    "colour profile that claims 2 GB": (_claims_profile, False),
    "PNG of very many chunks": (_many_chunks, True),
    "PNG bomb": (_bomb, True),
    "PNG with 100 MB of text or profile": (_long_text, False),
    "PNG with 50 MB too much": (_too_much_data, False),
    "JPEG of thousands of scans": (_many_scans, True),
    "PNG of a depth that does not exist": (_odd_header, True),
    "PNG or JPEG of no size": (_no_size, True),
    "interlaced PNG without its data": (_interlaced, True),
    "GIF, BMP, WebP, TIFF, PPM or ICO": (_another_format, True),
    "animated GIF": (lambda random: _animated(random, "GIF"), True),
    "animated PNG": (lambda random: _animated(random, "PNG"), False),
    "CMYK JPEG": (lambda random: _saved(_photo(random).convert("CMYK"), "JPEG"), False),
    "16-bit PNG": (_sixteen_bits, False),
    "PNG of one row or column": (_thin, False),
    "PNG of 4 megapixels, transparent": (_largest, False),
    "PNG with something after it": (
        lambda random: _png(_photo(random)) + random.bytes(random.integers(1, 9999)),
        False,
    ),
    "no bytes": (lambda random: b"", True),
    "random bytes": (lambda random: random.bytes(random.integers(1, 99_999)), True),
    "a signature and random bytes": (
        lambda random: (
            (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")[random.integers(2)]
            + random.bytes(random.integers(0, 9999))
        ),
        True,
    ),
}


_LONG = {"PNG of 4 megapixels, transparent"}


def _with(values: np.ndarray, random: np.random.Generator, *odd: float) -> np.ndarray:
    at = tuple(int(random.integers(side)) for side in values.shape)
    values[at] = odd[random.integers(len(odd))]
    return values


_ARRAYS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "array with NaN": lambda random, x: _with(x, random, np.nan),
    "array with an infinity": lambda random, x: _with(x, random, np.inf, -np.inf),
    "array of huge numbers": lambda random, x: (x - 0.5) * np.float32(3e38),
    "numbers of 8 bits": lambda random, x: 255 * x + 1,
    "empty batch": lambda random, x: x[:0],
    "batch without its axis": lambda random, x: x[0],
    "array of too many axes": lambda random, x: x.reshape((1,) * random.integers(1, 4) + x.shape),
    "number": lambda random, x: x.reshape(-1)[0],
    "vector": lambda random, x: x.reshape(-1),
    "array of no height": lambda random, x: x[:, :0],
    "array of other channels": lambda random, x: np.repeat(x, 2, axis=-1),
    "batch of too many": lambda random, x: np.zeros((1100, *x.shape[1:]), np.float32),
}
_TENSORS = {
    "file without a batch": (),
    "files in a matrix": (2, 2),
    "no file": (0,),
    "files of rank 6": (1, 1, 1, 1, 1, 1),
}


@dataclasses.dataclass
class Outcome:
    """What came of the requests.

    Attributes:
      refused, answered: how many, by kind.
      wrong: a line for each answer that is not as it must be.
      slowest: seconds and kind of the slowest answer.
      before: GB that the process held when it had answered one good request.
      peak: GB that it held at most.
    """

    refused: collections.Counter[str]
    answered: collections.Counter[str]
    wrong: list[str]
    slowest: tuple[float, str]
    before: float
    peak: float


def send(
    program: pathlib.Path,
    model: pathlib.Path,
    inverter: Inverter,
    requests: int,
    seed: int = 0,
    seconds: float = 60.0,
    minutes: float = 60.0,
) -> Outcome:
    """Sends so many requests to one process, or what so many minutes allow, and a good one at last.

    Raises:
      TimeoutError: an answer did not come in that many seconds.
      ConnectionError: the process ended.
    """
    outcome = Outcome(collections.Counter(), collections.Counter(), [], (0.0, ""), 0.0, 0.0)
    good = c_program.request(
        model, "reconstruct_bytes", _png(Image.new("RGB", (64, 64))), "png_bytes"
    )
    with c_program.Program(program, model) as served:
        assert served.ask(good)[0]
        outcome.before = served.peak_memory()
        end = time.monotonic() + 60 * minutes
        for number in itertools.takewhile(lambda _: time.monotonic() < end, range(requests)):
            request = draw(seed, number, inverter)
            sent = c_program.request(
                model, request.endpoint, request.value, request.output, request.shape
            )
            begin = time.monotonic()
            answer, error = served.ask(sent, seconds)
            outcome.slowest = max(outcome.slowest, (time.monotonic() - begin, request.kind))
            (outcome.refused if answer is None else outcome.answered)[request.kind] += 1
            if said := complaint(request, answer, error):
                outcome.wrong.append(f"request {number}, {request.kind}: {said}")
        assert served.ask(good)[0]
        outcome.peak = served.peak_memory()
    return outcome


def main() -> None:
    """Prints the table."""
    if c_program.compiler() is None:
        raise InputError("a C compiler is needed: cc or gcc")
    inverter = tfinvert.load(flags.FLAGS.inverter)
    with tempfile.TemporaryDirectory() as folder:
        model = export_savedmodel(inverter, pathlib.Path(folder, "model"))
        program = c_program.build(pathlib.Path(folder))
        begin = time.monotonic()
        given = flags.FLAGS
        outcome = send(
            program, model, inverter, given.requests, given.seed, given.seconds, given.minutes
        )
    took = time.monotonic() - begin
    print("| what is sent | refused | answered |\n| --- | --- | --- |")
    for kind in [*_FILES, *_ARRAYS, *_TENSORS]:
        print(f"| {kind} | {outcome.refused[kind]} | {outcome.answered[kind]} |")
    print(
        f"{outcome.refused.total() + outcome.answered.total()} requests to {given.inverter} in "
        f"{took:.0f} s: {outcome.refused.total()} refused, {outcome.answered.total()} answered, "
        f"{len(outcome.wrong)} wrongly; the slowest took {outcome.slowest[0]:.1f} s "
        f"({outcome.slowest[1]}); memory {outcome.before:.2f} GB before, {outcome.peak:.2f} at most"
    )
    for line in outcome.wrong[:20]:
        print(line)
    sys.exit(bool(outcome.wrong))


if __name__ == "__main__":  # tests import this beside others that have such flags
    flags.DEFINE_string("inverter", "hog-64", "What is exported, and asked.")
    flags.DEFINE_integer("requests", 10_000, "How many.", 1)
    flags.DEFINE_integer("seed", 0, "What they are drawn from.")
    flags.DEFINE_float("seconds", 60.0, "In which each must be answered.")
    flags.DEFINE_float("minutes", 12.0, "After which no more are sent.")
    runtime.run(main)
