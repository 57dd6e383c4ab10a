"""Files of features that were computed elsewhere: checked when they are opened, then read by row.

Parquet, CSV and `.npz` files are unpacked into a temporary file that is mapped into memory; `.npy`
and ArrayRecord files are read in place. At no time are all features in memory.
"""

import csv
import hashlib
import math
import os
import pathlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from tfinvert.common.files import update_digest
from tfinvert.errors import InputError, first_line

NAMES, FEATURES = "filename", "features"
_BATCH = 1024  # rows of a table that are converted together
_CHUNK_VALUES = 2**22  # numbers that are checked together
_CSV_BLOCK = 2**26  # bytes; a row must fit
_READ_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    RuntimeError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
)


class FeatureFile:
    """The features in a file, a row for each photograph.

    | suffix | features | names |
    | --- | --- | --- |
    | `.parquet` | columns `feature_0`, `feature_1`, …, or one list column | column `filename` |
    | `.csv` | columns `feature_0`, `feature_1`, … | column `filename` |
    | `.npz` | array `features` | array `filename` |
    | `.npy` | the array | lines of the file with the suffix `.txt` |
    | `.arrayrecord` | `tf.train.Example` with floats `features` | its bytes `filename` |

    Rows are counted from 0.

    Args:
      path: the file.
      shape: shape of a feature, (n,) or (rows, columns, channels), which the numbers of a row fill
        in C order; None for the shape in the file.
      named: whether the names are read.

    Attributes:
      path: the file.
      names: the name of each row; empty if not `named`.
      shape: shape of a feature.
      digest: SHA-256 digest of the file and, for `.npy`, of its names.

    Raises:
      InputError: the file is missing, damaged or of another format; it has no rows; a column is
        missing; a name is empty or repeated; features differ in length, do not have the shape, or
        are not finite.
    """

    def __init__(self, path: str | pathlib.Path, shape: Sequence[int] | None, named: bool = True):
        self.path = pathlib.Path(path)
        read = _READERS.get(self.path.suffix.lower())
        if read is None:
            raise InputError(
                f"stored features must be in a file that ends in {', '.join(_READERS)}. "
                f"Received: {path}"
            )
        if not self.path.is_file():
            raise InputError(f"there is no file of features; check --pairs. Received: {path}")
        try:
            self._values, self.names = read(self.path, named)
            self.digest = _digest(self.path, named)
        except InputError:
            raise
        except _READ_ERRORS as error:
            raise InputError(f"{path} cannot be read: {first_line(error)}") from error
        if not len(self._values):
            raise InputError(f"{path} must have a row for each photograph. Received: no rows")
        self.shape = _check_shape(self.path, self._values.shape[1:], shape)
        if named:
            self._check_names()
        self._check_finite()

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the features of some rows: float32 `[n, *shape]`."""
        return np.asarray(self._values[rows], np.float32).reshape(-1, *self.shape)

    def describe_row(self, row: int) -> str:
        """Names a row for messages."""
        return f"row {row} ({self.names[row]})" if self.names else f"row {row}"

    def _check_names(self) -> None:
        if len(self.names) != len(self):
            raise InputError(
                f"{self.path} must have a name for each row. Received: {len(self.names)} names, "
                f"{len(self)} rows"
            )
        first: dict[str, int] = {}
        for row, name in enumerate(self.names):
            if not name:
                raise InputError(
                    f"{self.path} has a row without a file name; name it or leave it out. "
                    f"Received: row {row}"
                )
            if first.setdefault(name, row) != row:
                raise InputError(
                    f"{self.path} must have one row for each photograph; remove the others. "
                    f"Received: {name} in rows {first[name]} and {row}"
                )

    def _check_finite(self) -> None:
        size = max(1, _CHUNK_VALUES // math.prod(self.shape))
        for begin in range(0, len(self), size):
            with np.errstate(over="ignore"):  # float64 beyond float32
                values = self[np.arange(begin, min(begin + size, len(self)))]
            finite = np.isfinite(values.reshape(len(values), -1))
            if not finite.all():
                row, number = np.argwhere(~finite)[0]
                raise InputError(
                    f"{self.path} must have finite numbers; compute the row again or leave it out. "
                    f"Received: number {number} of {self.describe_row(begin + row)} is "
                    f"{values.reshape(len(values), -1)[row, number]}"
                )


class _Table(NamedTuple):
    """Rows `[n, ...]` that are read by an array of indices, and their names."""

    values: Any
    names: list[str]


def _check_shape(
    path: pathlib.Path, own: tuple[int, ...], shape: Sequence[int] | None
) -> tuple[int, ...]:
    """Returns the shape of a feature, given that of a row and the required one."""
    if shape is None and len(own) in (1, 3) and math.prod(own):
        return own
    if shape is None:
        raise InputError(
            f"rows of {path} are neither vectors nor grids; give their --pairs_shape, for example "
            f"--pairs_shape=16,16,384 for 256 tokens. Received: the shape {own}"
        )
    if math.prod(own) != math.prod(shape):
        raise InputError(
            f"rows of {path} do not have the {math.prod(shape)} numbers of --pairs_shape; correct "
            f"it, or leave out what is no part of the grid, such as a class token. Received: "
            f"{math.prod(own)} numbers"
        )
    return tuple(shape)


def _digest(path: pathlib.Path, named: bool) -> str:
    total = hashlib.sha256()
    for file in [path, _names_file(path)] if named and path.suffix.lower() == ".npy" else [path]:
        update_digest(total, file)
    return total.hexdigest()


def _unpack(batches: Iterable[tuple[list[str], np.ndarray]]) -> _Table:
    """Writes batches of rows to a temporary file, which is mapped into memory."""
    names: list[str] = []
    count, shape = 0, (1,)
    # Unnamed: it disappears with the process, however that ends.
    with tempfile.TemporaryFile() as file:
        for more, values in batches:
            names += more
            count, shape = count + len(values), values.shape[1:]
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray(values, np.float32)
            try:
                file.write(values.data)
                file.flush()
            except OSError as error:
                raise InputError(
                    f"no space for unpacked features in {tempfile.gettempdir()}: "
                    f"{error.strerror or error}; set TMPDIR to a larger folder, or give a .npy "
                    f"file, which is read in place. Received: {count} rows so far"
                ) from error
        if not count:
            return _Table(np.empty((0, *shape), np.float32), names)
        return _Table(np.memmap(file, np.float32, "r", shape=(count, *shape)), names)


def _read_parquet(path: pathlib.Path, named: bool) -> _Table:
    with pa.parquet.ParquetFile(path, memory_map=True) as file:
        columns = _feature_columns(path, file.schema_arrow, named)
        wanted = [*([NAMES] if named else []), *columns]
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        row_bytes = max((x.total_byte_size // max(1, x.num_rows) for x in groups), default=0)
        size = max(1, min(_BATCH, 4 * _CHUNK_VALUES // max(1, row_bytes)))
        return _unpack(_convert(path, file.iter_batches(size, columns=wanted), columns, named))


def _read_csv(path: pathlib.Path, named: bool) -> _Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    fields = [(name, pa.string() if name == NAMES else pa.float64()) for name in header]
    columns = _feature_columns(path, pa.schema(fields), named)
    wanted = [*([NAMES] if named else []), *columns]
    options = pa.csv.ConvertOptions(column_types=dict(fields), include_columns=wanted)
    # One thread, so that errors have the number of the line.
    reading = pa.csv.ReadOptions(block_size=_CSV_BLOCK, use_threads=False)
    try:
        with pa.csv.open_csv(path, read_options=reading, convert_options=options) as file:
            return _unpack(_convert(path, file, columns, named))
    except pa.ArrowInvalid as error:
        problem = re.sub(r"Row #", "line ", first_line(error))
        raise InputError(f"{path} cannot be read; correct the line. Received: {problem}") from error


def _read_npz(path: pathlib.Path, named: bool) -> _Table:
    with zipfile.ZipFile(path) as archive:
        arrays = [name.removesuffix(".npy") for name in archive.namelist()]
        _require_column(path, "array", arrays, named)
        if FEATURES not in arrays:
            raise _missing(path, "array", FEATURES, arrays)
        names = []
        if named:
            with archive.open(f"{NAMES}.npy") as member:
                names = np.lib.format.read_array(member, allow_pickle=False)
            names = _to_names(names.tolist())
        with archive.open(f"{FEATURES}.npy") as member:
            return _unpack(_read_member(path, member))._replace(names=names)


def _read_member(path: pathlib.Path, member: IO[bytes]) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yields batches of the rows of an array in an archive."""
    version = np.lib.format.read_magic(member)
    header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        header = np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = header(member)
    _check_array(path, shape, dtype)
    if fortran_order and len(shape) > 1:
        raise InputError(
            f"{path}: the array {FEATURES} must be in C order; save "
            f"numpy.ascontiguousarray({FEATURES}). Received: Fortran order"
        )
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    size = max(1, _CHUNK_VALUES // max(1, math.prod(shape[1:])))
    for begin in range(0, shape[0], size):
        count = min(size, shape[0] - begin)
        data = member.read(count * row_bytes)
        yield [], np.frombuffer(data, dtype).reshape(count, *shape[1:])


def _read_npy(path: pathlib.Path, named: bool) -> _Table:
    values = np.lib.format.open_memmap(path, mode="r")
    _check_array(path, values.shape, values.dtype)
    if not named:
        return _Table(values, [])
    file = _names_file(path)
    if not file.is_file():
        raise InputError(
            f"{path} needs the names of its photographs, a line for each row, in {file}; or match "
            "rows and photographs with --pairs_match=order. Received: no such file"
        )
    lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return _Table(values, [line.removesuffix("\r") for line in lines])


def _read_array_record(path: pathlib.Path, named: bool) -> _Table:
    records = _Records(path)
    return _Table(records, records.names if named else [])


class _Records:
    """Features in the records of an ArrayRecord file, as an array `[n, length]`.

    Attributes:
      names: the name of each row; "" for a record without.
    """

    def __init__(self, path: pathlib.Path):
        from array_record.python.array_record_module import ArrayRecordReader

        self._reader = ArrayRecordReader(
            os.fspath(path), options="readahead_buffer_size:0,max_parallelism:0"
        )
        self.names: list[str] = []
        length = 0
        for begin in range(0, self._reader.num_records(), _BATCH):
            end = min(begin + _BATCH, self._reader.num_records())
            for row, record in enumerate(self._reader.read([*range(begin, end)]), begin):
                name, values = _parse_record(path, row, record)
                length = length or values
                if values != length:
                    raise _length_error(path, length, values, row)
                self.names.append(name)
        self.shape = (len(self.names), length)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        records = self._reader.read(np.asarray(rows).tolist())
        spec = {FEATURES: tf.io.FixedLenFeature([self.shape[1]], tf.float32)}
        return tf.io.parse_example(records, spec)[FEATURES].numpy()


def _parse_record(path: pathlib.Path, row: int, record: bytes) -> tuple[str, int]:
    """Returns the name in a record, and the number of values of its feature."""
    import tensorflow as tf

    try:
        found = tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf has one of its own in each implementation
        raise InputError(
            f"{path} must consist of records of tf.train.Example. Received: row {row}, "
            f"{first_line(error)}"
        ) from error
    length = len(found[FEATURES].float_list.value) if FEATURES in found else 0
    if not length:
        raise InputError(
            f"{path} must have floats {FEATURES} in every record. Received: "
            f"{_some(sorted(found))} in row {row}"
        )
    name = b"".join(found[NAMES].bytes_list.value[:1]) if NAMES in found else b""
    return name.decode(errors="surrogateescape"), length


def _names_file(path: pathlib.Path) -> pathlib.Path:
    return path.with_suffix(".txt")


def _check_array(path: pathlib.Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) < 2 or dtype.kind not in "fiu":
        raise InputError(
            f"the features of {path} must be an array of numbers with a row for each photograph. "
            f"Received: {dtype} {shape}"
        )


def _feature_columns(path: pathlib.Path, schema: pa.Schema, named: bool) -> list[str]:
    """Returns the columns of features in order: `feature_0`, …, or one list column."""
    _require_column(path, "column", schema.names, named)
    numbers = sorted(int(x[8:]) for x in schema.names if re.fullmatch(r"feature_\d+", x))
    if numbers:
        missing = {*range(numbers[-1] + 1)} - {*numbers}
        if missing:
            raise _missing(path, "column", f"feature_{min(missing)}", schema.names)
        columns = [f"feature_{number}" for number in numbers]
    else:
        columns = [field.name for field in schema if _is_list(field.type)]
        if len(columns) != 1:
            raise InputError(
                f"{path} must have columns feature_0, feature_1, … or one column of lists; rename "
                f"the columns of the features. Received: {_some(columns or schema.names)}"
            )
    for name in columns:
        kind = schema.field(name).type
        while _is_list(kind):
            kind = kind.value_type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise InputError(f"{path}: the column {name} must have numbers. Received: {kind}")
    return columns


def _require_column(path: pathlib.Path, kind: str, found: Sequence[str], named: bool) -> None:
    if named and NAMES not in found:
        raise _missing(path, kind, NAMES, found, "; or match rows by --pairs_match=order")


def _missing(
    path: pathlib.Path, kind: str, name: str, found: Sequence[str], remedy: str = ""
) -> InputError:
    return InputError(
        f"{path} has no {kind} {name}; rename the {kind} that has its values{remedy}. "
        f"Received: {_some(found)}"
    )


def _some(names: Sequence[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > 6 else ""
    return (", ".join(map(str, names[:6])) or "none") + more


def _convert(
    path: pathlib.Path, batches: Iterable[pa.RecordBatch], columns: Sequence[str], named: bool
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yields the names and the features `[b, ...]` of batches of a table."""
    begin, shape = 0, ()
    for batch in batches:
        if not len(batch):
            continue
        names = _to_names(batch.column(NAMES).cast(pa.string()).to_pylist()) if named else []
        parts = [batch.column(name) for name in columns]
        if _is_list(parts[0].type):
            values, shape = _flatten(path, parts[0], begin, shape)
        else:
            values = np.column_stack([part.to_numpy(zero_copy_only=False) for part in parts])
        yield names, values
        begin += len(batch)


def _flatten(
    path: pathlib.Path, lists: pa.Array, begin: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Converts a column of lists, which may contain lists.

    Args:
      path: the file, for messages.
      lists: the column.
      begin: the row of its first list.
      shape: the shape of the lists before; () if there are none.

    Returns:
      The values `[b, *shape]` and the shape.
    """
    count, expected, found = len(lists), list(shape), []
    while _is_list(lists.type):
        lengths = pa.compute.list_value_length(lists).to_numpy(zero_copy_only=False)
        length = expected.pop(0) if expected else int(np.nan_to_num(lengths[0]))
        wrong = np.flatnonzero(lengths != length)
        if len(wrong):
            row = begin + int(wrong[0]) * count // len(lists)
            raise _length_error(path, length, int(np.nan_to_num(lengths[wrong[0]])), row)
        lists, found = lists.flatten(), [*found, length]
        if not len(lists):
            break
    return lists.to_numpy(zero_copy_only=False).reshape(count, *found), tuple(found)


def _length_error(path: pathlib.Path, length: int, wrong: int, row: int) -> InputError:
    return InputError(
        f"{path} must have features of one length; correct the others or leave them out. "
        f"Received: {length} values in row 0, {wrong} in row {row}"
    )


def _is_list(kind: pa.DataType) -> bool:
    return any(
        check(kind)
        for check in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    )


def _to_names(values: Sequence[Any]) -> list[str]:
    """Converts names of a file to text; missing ones become empty."""
    return [
        value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value or "")
        for value in values
    ]


_READERS: dict[str, Callable[[pathlib.Path, bool], _Table]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".arrayrecord": _read_array_record,
}
