"""Files written by PyTorch (see make_torch_files.py), and invalid imitations of them."""

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
def test_tensors_written_by_pytorch(name):
    tensors = READERS[name](HERE / f"{name}.pth")
    assert tensors.keys() == expected().keys()
    for key, value in expected().items():
        assert tensors[key].dtype == value.dtype, key
        np.testing.assert_array_equal(tensors[key], value, err_msg=key)


@pytest.mark.parametrize("name", READERS)
def test_truncated_files(name, tmp_path, refused):
    data = (HERE / f"{name}.pth").read_bytes()
    for end in [1, 2, 10, 15, 16, 40, *range(100, len(data), 61), len(data) - 1]:
        (tmp_path / "w.pth").write_bytes(data[:end])
        line = refused(tmp_path / "w.pth")
        assert "not the tensors" not in line, end


@pytest.mark.parametrize("name", READERS)
def test_tensors_of_another_network_are_named(name, refused):
    refused(HERE / f"{name}.pth", words=["missing: features.0.weight", "not expected: whole"])


def write_described(path, tensor, storages, kind="Float", count=6, **options):
    """Writes an archive with one tensor of any description."""
    storage = writers.PersistentId(
        "storage", writers.Named(f"torch:{kind}Storage"), "0", "cpu", count
    )
    data, _ = writers.torch_pickle(
        collections.OrderedDict(x=writers.Call("torch._utils:_rebuild_tensor_v2", storage, *tensor))
    )
    writers.write_archive(path, data, storages, **options)
    return path


VALID = (0, (2, 3), (3, 1), False, {})
RAW = np.arange(6, dtype="<f4").tobytes()


def test_described_tensor(tmp_path):
    tensors = torch_files.read_zip_pth(write_described(tmp_path / "w.pth", VALID, [RAW]))
    np.testing.assert_array_equal(tensors["x"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("tensor", "storages", "count", "message"),
    [
        ((1, (2, 3), (3, 1), False, {}), [RAW], 6, "extends beyond"),
        ((0, (3, 2), (3, 1), False, {}), [RAW], 6, "extends beyond"),
        ((0, (10**9, 10**9), (0, 0), False, {}), [RAW], 6, "extends beyond"),
        ((-1, (2, 3), (3, 1), False, {}), [RAW], 6, "invalid description"),
        ((0, (2, 3), (-3, 1), False, {}), [RAW], 6, "invalid description"),
        ((0, (2, 3), (3,), False, {}), [RAW], 6, "invalid description"),
        ((0, (1,) * 99, (1,) * 99, False, {}), [RAW], 6, "invalid description"),
        ((0, "ab", (3, 1), False, {}), [RAW], 6, "invalid description"),
        (VALID, [RAW], 10**12, "24 bytes; its tensors need 4000000000000"),
        (VALID, [RAW], -6, "-6 values"),
        (VALID, [RAW[:-1]], 6, "23 bytes; its tensors need 24"),
        (VALID, [], 6, "'archive/data/0' is missing"),
    ],
)
def test_invalid_descriptions(tensor, storages, count, message, tmp_path):
    path = write_described(tmp_path / "w.pth", tensor, storages, count=count)
    with pytest.raises(InputError, match=message):
        torch_files.read_zip_pth(path)


def test_other_storage_types(tmp_path):
    path = write_described(tmp_path / "w.pth", VALID, [RAW], kind="Complex")
    with pytest.raises(InputError, match="imports torch.ComplexStorage"):
        torch_files.read_zip_pth(path)


def test_zip_bomb_is_not_unpacked(tmp_path):
    data, _ = writers.torch_pickle(collections.OrderedDict(x=np.zeros(10**7, "<f4")))
    raw = bytes(4 * 10**7)
    path = tmp_path / "w.pth"
    writers.write_archive(path, data, [raw], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    with pytest.raises(InputError, match="is compressed"):
        torch_files.read_zip_pth(path)


def test_compressed_entries_are_rejected(tmp_path):
    path = write_described(tmp_path / "w.pth", VALID, [RAW], compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="is compressed"):
        torch_files.read_zip_pth(path)


def test_byte_order_of_the_file(tmp_path):
    swapped = np.arange(6, dtype=">f4").tobytes()
    path = write_described(tmp_path / "w.pth", VALID, [swapped], byteorder=b"big")
    np.testing.assert_array_equal(torch_files.read_zip_pth(path)["x"], [[0, 1, 2], [3, 4, 5]])


def test_entry_with_a_stated_size_above_the_file_size(tmp_path):
    path = write_described(tmp_path / "w.pth", VALID, [RAW], count=10**8)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    while b"archive/data/0" not in data[at : at + 60]:
        at = data.index(b"PK\x01\x02", at + 1)
    data[at + 24 : at + 28] = (4 * 10**8).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="stated size exceeds its actual size"):
        torch_files.read_zip_pth(path)


def test_checkpoint_with_other_values_than_tensors(tmp_path, refused):
    data, arrays = writers.torch_pickle({"state_dict": {"x": np.zeros(2, "<f4")}, "epoch": 3})
    writers.write_archive(tmp_path / "w.pth", data, [array.tobytes() for array in arrays])
    refused(tmp_path / "w.pth", words=["'state_dict' is not a tensor; expected a state_dict"])
