"""Files that PyTorch itself wrote (make_torch_files.py), and files that only look so."""

import collections
import pathlib
import zipfile

import numpy as np
import pytest

from tests.networks.weights import writers
from tests.networks.weights.make_torch_files import expected
from tfinvert.errors import InputError
from tfinvert.networks.weights import torch_files

HERE = pathlib.Path(__file__).parent
READERS = {
    "torch_tensors": torch_files.read_zip_pth,
    "torch_tensors_legacy": torch_files.read_legacy_pth,
}


@pytest.mark.parametrize("name", READERS)
def test_tensors_of_a_file_by_torch(name):
    found = READERS[name](HERE / f"{name}.pth")
    assert found.keys() == expected().keys()
    for key, true in expected().items():
        assert found[key].dtype == true.dtype, key
        np.testing.assert_array_equal(found[key], true, err_msg=key)


@pytest.mark.parametrize("name", READERS)
def test_a_file_by_torch_cut_anywhere_is_refused(name, tmp_path, refused):
    data = (HERE / f"{name}.pth").read_bytes()
    for end in [1, 2, 10, 15, 16, 40, *range(100, len(data), 61), len(data) - 1]:
        (tmp_path / "w.pth").write_bytes(data[:end])
        line = refused(tmp_path / "w.pth")
        assert "not the tensors" not in line, end


@pytest.mark.parametrize("name", READERS)
def test_tensors_that_are_not_an_alexnet_are_named(name, refused):
    refused(HERE / f"{name}.pth", words=["missing: features.0.weight", "not expected: whole"])


def archive_of(path, tensor, storages, kind="Float", count=6, **how):
    """An archive with one tensor described as one likes."""
    storage = writers.PersistentId(
        "storage", writers.Named(f"torch:{kind}Storage"), "0", "cpu", count
    )
    data, _ = writers.torch_pickle(
        collections.OrderedDict(x=writers.Call("torch._utils:_rebuild_tensor_v2", storage, *tensor))
    )
    writers.write_archive(path, data, storages, **how)
    return path


FINE = (0, (2, 3), (3, 1), False, {})
RAW = np.arange(6, dtype="<f4").tobytes()


def test_a_described_tensor(tmp_path):
    found = torch_files.read_zip_pth(archive_of(tmp_path / "w.pth", FINE, [RAW]))
    np.testing.assert_array_equal(found["x"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("tensor", "storages", "count", "word"),
    [
        ((1, (2, 3), (3, 1), False, {}), [RAW], 6, "reaches beyond"),
        ((0, (3, 2), (3, 1), False, {}), [RAW], 6, "reaches beyond"),
        ((0, (10**9, 10**9), (0, 0), False, {}), [RAW], 6, "reaches beyond"),
        ((-1, (2, 3), (3, 1), False, {}), [RAW], 6, "described wrongly"),
        ((0, (2, 3), (-3, 1), False, {}), [RAW], 6, "described wrongly"),
        ((0, (2, 3), (3,), False, {}), [RAW], 6, "described wrongly"),
        ((0, (1,) * 99, (1,) * 99, False, {}), [RAW], 6, "described wrongly"),
        ((0, "ab", (3, 1), False, {}), [RAW], 6, "described wrongly"),
        (FINE, [RAW], 10**12, "24 bytes; its tensors need 4000000000000"),
        (FINE, [RAW], -6, "-6 values"),
        (FINE, [RAW[:-1]], 6, "23 bytes; its tensors need 24"),
        (FINE, [], 6, "'archive/data/0' is missing"),
    ],
)
def test_a_tensor_is_not_believed(tensor, storages, count, word, tmp_path):
    path = archive_of(tmp_path / "w.pth", tensor, storages, count=count)
    with pytest.raises(InputError, match=word):
        torch_files.read_zip_pth(path)


def test_other_storages_are_refused_by_name(tmp_path):
    path = archive_of(tmp_path / "w.pth", FINE, [RAW], kind="Complex")
    with pytest.raises(InputError, match="asks for torch.ComplexStorage"):
        torch_files.read_zip_pth(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    data, _ = writers.torch_pickle(collections.OrderedDict(x=np.zeros(10**7, "<f4")))
    raw = bytes(4 * 10**7)
    path = tmp_path / "w.pth"
    writers.write_archive(path, data, [raw], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    with pytest.raises(InputError, match="is compressed"):
        torch_files.read_zip_pth(path)


def test_nothing_is_unpacked(tmp_path):
    path = archive_of(tmp_path / "w.pth", FINE, [RAW], compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="is compressed"):
        torch_files.read_zip_pth(path)


def test_the_order_of_bytes_is_the_files(tmp_path):
    swapped = np.arange(6, dtype=">f4").tobytes()
    path = archive_of(tmp_path / "w.pth", FINE, [swapped], byteorder=b"big")
    np.testing.assert_array_equal(torch_files.read_zip_pth(path)["x"], [[0, 1, 2], [3, 4, 5]])


def test_an_entry_that_says_it_is_larger_than_the_file(tmp_path):
    path = archive_of(tmp_path / "w.pth", FINE, [RAW], count=10**8)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    while b"archive/data/0" not in data[at : at + 60]:
        at = data.index(b"PK\x01\x02", at + 1)
    data[at + 24 : at + 28] = (4 * 10**8).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="larger than it is"):
        torch_files.read_zip_pth(path)


def test_a_checkpoint_of_more_than_tensors_names_what_is_more(tmp_path, refused):
    data, arrays = writers.torch_pickle({"state_dict": {"x": np.zeros(2, "<f4")}, "epoch": 3})
    writers.write_archive(tmp_path / "w.pth", data, [array.tobytes() for array in arrays])
    refused(tmp_path / "w.pth", words=["'state_dict' is no tensor; expected a state_dict"])
