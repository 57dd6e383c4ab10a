"""Files of stored features: five formats, invalid files, and memory."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordWriter

from tests.refusals import refused
from tfinvert.data.feature_file import FeatureFile

COUNT = 3000  # more than the rows that are converted together
NAMES = [f"{i:05}.jpg" for i in range(COUNT)]
VALUES = np.random.default_rng(0).normal(size=(COUNT, 12)).astype(np.float32)


def table(values=VALUES, names=NAMES):
    columns = {f"feature_{i}": column for i, column in enumerate(np.transpose(values))}
    return pd.DataFrame({"note": "x", "filename": names, **columns})


def write_array_records(path, values, names):
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for value, name in zip(values, names, strict=True):
        floats = tf.train.Feature(float_list=tf.train.FloatList(value=value))
        text = tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()]))
        features = tf.train.Features(feature={"features": floats, "filename": text})
        writer.write(tf.train.Example(features=features).SerializeToString())
    writer.close()


def write(path, values=VALUES, names=NAMES):
    """Writes a file in the format of its suffix; `lists.parquet` has a column of lists."""
    if path.name == "lists.parquet":
        pd.DataFrame({"filename": names, "embedding": [*values]}).to_parquet(path)
    elif path.suffix == ".parquet":
        table(values, names).to_parquet(path)
    elif path.suffix == ".csv":
        table(values, names).to_csv(path, index=False)
    elif path.suffix == ".npz":
        np.savez(path, features=values, filename=names)
    elif path.suffix == ".npy":
        np.save(path, values)
        path.with_suffix(".txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    else:
        write_array_records(path, values, names)
    return path


def refuse(path, *words, shape=None, named=True):
    """Asserts that a file is refused, in one line that names it."""
    return refused(lambda: FeatureFile(path, shape, named), str(path), *words)


FORMATS = ["a.parquet", "lists.parquet", "a.csv", "a.npz", "a.npy", "a.arrayrecord"]


@pytest.mark.parametrize("name", FORMATS)
def test_rows_are_read_from_every_format(tmp_path, name):
    file = FeatureFile(write(tmp_path / name), None)
    assert file.shape == (12,) and len(file) == COUNT
    assert file.names == NAMES
    rows = np.array([2999, 0, 1500, 1500])
    read = file[rows]
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, VALUES[rows], rtol=1e-6)
    grid = FeatureFile(tmp_path / name, (2, 2, 3), named=False)
    np.testing.assert_array_equal(grid[rows], read.reshape(4, 2, 2, 3))
    assert not grid.names
    line = refuse(tmp_path / name, "75 numbers of --pairs_shape", shape=(5, 5, 3))
    assert line.endswith("Received: 12 numbers")


@pytest.mark.parametrize("name", FORMATS)
def test_the_digest_follows_values_and_names(tmp_path, name):
    first = FeatureFile(write(tmp_path / name), None).digest
    assert first == FeatureFile(tmp_path / name, None).digest
    changed = VALUES.copy()
    changed[-1, -1] += 1
    assert first != FeatureFile(write(tmp_path / name, changed), None).digest
    assert first != FeatureFile(write(tmp_path / name, names=[*NAMES[1:], "z.jpg"]), None).digest


@pytest.mark.parametrize("name", FORMATS)
def test_a_number_that_is_not_finite_is_named_with_file_and_row(tmp_path, name):
    values = VALUES.copy()
    values[2417, 3] = np.nan
    path = write(tmp_path / name, values)
    line = refuse(path, "must have finite numbers")
    assert line.endswith("number 3 of row 2417 (02417.jpg) is nan")


@pytest.mark.parametrize("name", FORMATS)
def test_a_repeated_name_is_named_with_both_rows(tmp_path, name):
    path = write(tmp_path / name, names=[*NAMES[:-1], NAMES[7]])
    line = refuse(path, "one row for each photograph")
    assert line.endswith("00007.jpg in rows 7 and 2999")


@pytest.mark.parametrize("name", FORMATS)
def test_files_without_rows_or_content(tmp_path, name):
    path = write(tmp_path / name, VALUES[:0], [])
    refuse(path)
    path.write_bytes(b"")
    refuse(path)
    path.write_bytes(b"no such format, but long enough for any header of a file" * 100)
    refuse(path)
    path.unlink()
    refuse(path, "there is no file of features", str(path))


def test_features_of_two_lengths_are_named_with_their_row(tmp_path):
    values = [*VALUES]
    values[2048] = VALUES[0][:11]  # the first row of a batch
    for name in ("lists.parquet", "a.arrayrecord"):
        path = write(tmp_path / name, values)
        for named in (True, False):
            line = refuse(path, "of one length", named=named)
            assert line.endswith("12 values in row 0, 11 in row 2048")
    values[2048], values[2999] = VALUES[0], None
    path = write(tmp_path / "lists.parquet", values)
    assert refuse(path).endswith("0 in row 2999")
    path = write(tmp_path / "a.csv")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:2000], lines[2000][:-9].rpartition(",")[0], *lines[2001:]]))
    refuse(path, "line 2001: Expected 14 columns, got 13")


def test_lists_of_lists_are_grids(tmp_path):
    grids = np.random.default_rng(1).normal(size=(5, 2, 3, 4)).astype(np.float32)
    path = tmp_path / "grids.parquet"
    pd.DataFrame({"filename": NAMES[:5], "tokens": grids.tolist()}).to_parquet(path)
    file = FeatureFile(path, None)
    assert file.shape == (2, 3, 4)
    np.testing.assert_array_equal(file[np.array([4, 1])], grids[[4, 1]])
    lists = grids.tolist()
    lists[3][1][2].append(0.0)
    pd.DataFrame({"filename": NAMES[:5], "tokens": lists}).to_parquet(path)
    assert refuse(path).endswith("4 values in row 0, 5 in row 3")


def test_columns_that_are_missing_or_no_numbers(tmp_path):
    def given(columns, suffix):
        path = tmp_path / f"columns{suffix}"
        frame = pd.DataFrame(columns)
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
        return lambda: FeatureFile(path, None)

    for suffix in (".parquet", ".csv"):
        names = {"filename": ["a.jpg", "b.jpg"]}
        line = refused(given({"file": ["a"], "feature_0": [1]}, suffix), "has no column filename")
        assert line.endswith("Received: file, feature_0") and "--pairs_match=order" in line
        refused(given(names | {"feature_0": [1, 2], "feature_2": [1, 2]}, suffix), "feature_1")
        refused(given(names | {"f0": [1.0, 2.0]}, suffix), "feature_0, feature_1, …")
        refused(
            given(names | {"feature_0": ["x", "y"]}, suffix), "x" if suffix == ".csv" else "str"
        )
        refused(given({"filename": ["a.jpg", None], "feature_0": [1, 2]}, suffix), "row 1")
    lists = [[1.0], [2.0]]
    refused(given(names | {"a": lists, "b": lists}, ".parquet"), "Received: a, b")
    assert FeatureFile(tmp_path / "columns.csv", None, named=False).shape == (1,)


def test_arrays_that_are_no_features(tmp_path):
    path = tmp_path / "a.npy"
    for array, word in ((VALUES[0], "(12,)"), (np.array([["x"]]), "<U1")):
        np.save(path, array)
        refuse(path, word, named=False)
    np.save(path, VALUES.reshape(-1, 3, 4))
    refuse(path, "--pairs_shape=16,16,384", "(3, 4)", named=False)
    refuse(path, f"in {path.with_suffix('.txt')}")
    path.with_suffix(".txt").write_text("a.jpg\n")
    refuse(path, "1 names, 3000 rows", shape=(12,))
    np.savez(tmp_path / "a.npz", filename=NAMES, embedding=VALUES)
    refuse(tmp_path / "a.npz", "no array features", "embedding")
    np.savez(tmp_path / "a.npz", filename=NAMES, features=np.asfortranarray(VALUES))
    refuse(tmp_path / "a.npz", "ascontiguousarray")
    refuse(tmp_path / "a.pkl", ".parquet, .csv, .npz, .npy")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "lists.parquet"])
def test_features_are_never_all_in_memory(tmp_path, name):
    values = np.zeros((200, 80_000), np.float32)  # 64 MB
    path = write(tmp_path / name, values, NAMES[:200])
    del values
    tracemalloc.start()
    try:
        file = FeatureFile(path, None)
        assert file[np.array([0, 199])].shape == (2, 80_000)
        assert tracemalloc.get_traced_memory()[1] < 48e6
    finally:
        tracemalloc.stop()
