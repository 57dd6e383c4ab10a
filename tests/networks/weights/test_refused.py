"""Damaged, hostile and unrelated files: each raises a one-line error, and nothing is executed."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from tests.networks.weights import writers
from tfinvert.networks.weights import restricted_pickle

ENDINGS = [".pth", ".safetensors", ".caffemodel", ".npy", ".npz", ".ckpt", ""]


def attacks(proof):
    """Values whose pickles would create the file `proof`, with the first global they import."""
    touch = writers.Call("os:system", f"touch {proof}")
    system = writers.Call("builtins:getattr", writers.Call("builtins:__import__", "os"), "system")
    return {
        "os": (touch, "os.system"),
        "eval": (writers.Call("builtins:eval", f"open({str(proof)!r}, 'w')"), "builtins.eval"),
        "popen": (writers.Call("subprocess:Popen", ["touch", str(proof)]), "subprocess.Popen"),
        "an attribute": (system, "builtins.getattr"),
        "in a dictionary": ({"AlexNet_0": {"Conv_0": touch}}, "os.system"),
        "as a tensor": ({"features.0.weight": touch}, "os.system"),
        "torch.load": (writers.Call("torch:load", str(proof)), "torch.load"),
        "numpy.load": (writers.Call("numpy:load", str(proof)), "numpy.load"),
        "numpy's test": (
            writers.Call("numpy.testing._private.utils:runstring", "", {}),
            "runstring",
        ),
        "a whole module": (
            {"x": writers.Call("torchvision.models.alexnet:AlexNet")},
            "torchvision.models.alexnet.AlexNet",
        ),
        "this package": (writers.Call("tfinvert.networks.weights:save", 1, 2), "weights.save"),
        "a partial": (writers.Call("functools:partial", writers.Named("os:system")), "partial"),
    }


def as_file(folder, how, data):
    """Writes a weight file whose pickle is `data`."""
    if how == "ckpt" or how == "legacy pth":
        path = folder / ("w.ckpt" if how == "ckpt" else "w.pth")
        magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) if how == "legacy pth" else b""
        path.write_bytes(magic + data)
    elif how == "pth":
        path = folder / "w.pth"
        writers.write_archive(path, data, [])
    else:
        path = folder / "w.npy"
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        path.write_bytes(header.getvalue() + data)
    return path


@pytest.mark.parametrize("how", ["ckpt", "npy", "pth", "legacy pth"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("attack", attacks(""))
def test_hostile_pickle(attack, protocol, how, tmp_path, refused):
    proof = tmp_path / "proof"
    value, name = attacks(proof)[attack]
    data, _ = writers.torch_pickle(value, protocol=protocol)
    path = as_file(tmp_path, how, data)
    refused(path, "" if how != "npy" else "bvlc", words=["its pickle imports ", f"{name}; only"])
    assert not proof.exists()
    if attack in ("os", "in a dictionary"):
        pickle.loads(data)
        assert proof.exists()  # the attack is real


OPCODES = {
    "a class by INST": b"(S'true'\nios\nsystem\n.",
    "a class by OBJ": b"(cos\nsystem\nS'true'\no.",
    "an extension": b"\x80\x02\x82\x01.",
    "a memo far away": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a memo that is not there": b"\x80\x02h\x07.",
    "a persistent identifier": b"\x80\x02K\x01Q.",
    "attributes of OrderedDict": b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",
    "attributes of a function": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
    b"}N}X\x0a\x00\x00\x00__module__K\x01s\x86b.",
    "an instance of a function": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "a call of a string": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "a long string": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa.",
    "nothing but an end": b"\x80\x02.",
    "a dictionary of itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "a number": b"\x80\x02K\x07.",
    "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0fcore.os.system_\x93.",
    "a list of lists": b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    "a type with a tuple for a name": b"\x80\x02cnumpy\ndtype\n)\x85R.",
    "text as something else": b"\x80\x02c_codecs\nencode\n"
    b"X\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
}


@pytest.mark.parametrize("how", ["ckpt", "npy", "pth", "legacy pth"])
@pytest.mark.parametrize("trick", OPCODES)
def test_pickle_opcodes(trick, how, tmp_path, refused):
    line = refused(as_file(tmp_path, how, OPCODES[trick]), "" if how != "npy" else "bvlc")
    # Found before unpickling, because CPython would allocate memory for all lower memo numbers.
    assert ("uses the memo number 2147483647" in line) == (trick == "a memo far away")


def test_pickle_cannot_change_the_replacement_functions(tmp_path, refused):
    before = {
        key: dict(getattr(x, "__dict__", {})) for key, x in restricted_pickle.NUMPY_GLOBALS.items()
    }
    for i, name in enumerate([b"_reconstruct", b"ndarray"]):
        module = b"numpy.core.multiarray" if i == 0 else b"numpy"
        data = b"\x80\x02c" + module + b"\n" + name + b"\n}X\x01\x00\x00\x00aK\x01s\x86b."
        refused(as_file(tmp_path, "ckpt", data))
    assert before == {
        key: dict(getattr(x, "__dict__", {})) for key, x in restricted_pickle.NUMPY_GLOBALS.items()
    }


@pytest.mark.parametrize(
    "state",
    [
        (1, (10**9, 10**9), "f4", False, b"1234"),
        (1, (1,), "f4", False, b"123"),
        (1, (2,), "f4", False, b"1234"),
        (1, "ab", "f4", False, b"1234"),
        (1, None, "f4", False, b"1234"),
        (1, (1,), "f4", False, ["1234"]),
        (1, (1,), "f4", False, "\u1234"),
        (1, (1,), "O8", False, b"12345678"),
        (1, (1,), "i4", False, b"1234"),
        (1, (1,), "V4", False, b"1234"),
        (1,),
        7,
    ],
    ids=str,
)
def test_invalid_array_descriptions(state, tmp_path, refused):
    class Described:
        def __reduce__(self):
            if not isinstance(state, tuple) or len(state) == 1:
                return *np.empty(0).__reduce__()[:2], state
            return *np.empty(0).__reduce__()[:2], (*state[:2], np.dtype(state[2]), *state[3:])

    data = pickle.dumps({"AlexNet_0": {"Conv_0": {"kernel": Described()}}}, 3)
    refused(as_file(tmp_path, "ckpt", data))


def test_truncated_files(written, tmp_path, refused):
    variant, path = written
    data = path.read_bytes()
    for end in (1, 4, 9, 30, 200, 1000, len(data) // 2, len(data) - 300, len(data) - 1):
        truncated = tmp_path / path.name
        truncated.write_bytes(data[:end])
        refused(truncated, variant, words=[str(truncated)])


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_that_are_not_weight_files(ending, tmp_path, refused):
    path = tmp_path / f"w{ending}"
    refused(path, "bvlc", words=["does not exist", ".safetensors, .pth"])
    path.mkdir()
    refused(path, "bvlc", words=["is a directory", ".safetensors, .pth"])
    path.rmdir()
    for content in (b"", b"\n", b"PK", b"hello, I am a text\n" * 9, bytes(100), b"\xff" * 100):
        path.write_bytes(content)
        refused(path, "bvlc", words=[str(path)])
    if ending != ".caffemodel":
        refused(path, "", words=[str(path)])


def test_archives_and_arrays_with_other_contents(tmp_path, refused):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, words=["not one of PyTorch's"])
    np.savez(tmp_path / "w.npz", np.zeros(3))
    refused(tmp_path / "w.npz", "bvlc", words=["missing: conv1/kernel", "not expected: arr_0"])
    np.savez(tmp_path / "w.npz", **{"conv1/kernel": np.array({}, object)})
    refused(tmp_path / "w.npz", "bvlc", words=["'conv1/kernel' is a pickle"])
    np.save(tmp_path / "w.npy", np.zeros(3))
    refused(tmp_path / "w.npy", "bvlc", words=["it is one array of float64"])


def test_npz_with_a_huge_stated_shape(tmp_path, refused):
    header = io.BytesIO()
    shape = (10**6, 10**6)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("conv1/kernel.npy", header.getvalue() + bytes(100))
    refused(tmp_path / "w.npz", "bvlc", words=["larger than its file"])


def test_caffe_layouts_need_a_variant(tmp_path, layers, refused):
    for which, write in writers.WRITERS.items():
        if which[0] != "torchvision" and "packed" not in which[1]:
            path = write(tmp_path, layers(which[0]))
            for variant in ("", "torchvision"):
                refused(path, variant, words=["fit both caffenet and bvlc"])


def test_variant_contradicts_the_file(tmp_path, layers, refused):
    for which, write in writers.WRITERS.items():
        if which[0] == "torchvision":
            path = write(tmp_path, layers("torchvision"))
            for variant in ("caffenet", "bvlc"):
                refused(path, variant, words=[f"the requested variant is {variant}"])


def test_unknown_variant(written, refused):
    refused(written[1], "alexnet", words=["'alexnet'", "caffenet, bvlc, torchvision"])


def test_invalid_metadata(tmp_path, layers, refused):
    path = tmp_path / "w.safetensors"
    tensors = writers.torchvision_tensors(layers("torchvision"))
    for metadata, message in (
        ({"variant": "bvlc"}, "states the variant 'bvlc'"),
        ({"variant": "vgg"}, "states the variant 'vgg'"),
        ({"input_size": "big"}, "input_size is 'big'"),
        ({"input_size": "0"}, "input_size is '0'"),
        ({"facts": "{"}, "facts are not JSON"),
        ({"facts": "[]"}, "facts are not a JSON object"),
    ):
        safetensors.numpy.save_file(tensors, path, metadata)
        refused(path, words=[message])


def test_each_tensor_is_checked_by_name(tmp_path, layers, refused):
    path = tmp_path / "w.safetensors"
    valid = writers.torchvision_tensors(layers("torchvision"))
    nan, infinite = valid["features.3.bias"].copy(), valid["classifier.4.weight"].copy()
    nan[7], infinite[3, 4] = np.nan, np.inf
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    for name, value, words in (
        ("features.3.bias", nan, ["features.3.bias has values that are not finite"]),
        ("classifier.4.weight", infinite, ["classifier.4.weight has values that are not"]),
        ("features.0.bias", np.full(64, 1e300), ["features.0.bias has values that are not"]),
        ("features.8.bias", np.zeros(256, np.int32), ["features.8.bias has type int32"]),
        ("features.0.weight", zeros(96, 3, 11, 11), ["[96, 3, 11, 11]", "[64, 3, 11, 11]"]),
        ("features.3.weight", zeros(5, 5, 64, 192), ["[5, 5, 64, 192]", "[192, 64, 5, 5]"]),
        ("features.6.bias", zeros(383), ["features.6.bias", "[383]", "[384]"]),
        ("classifier.1.weight", zeros(12, 1023), ["classifier.1.weight", "[12, 1023]", "256·g²"]),
        ("classifier.1.weight", zeros(12, 512), ["[12, 512]", "256·g²"]),
        ("classifier.1.weight", zeros(12, 0), ["[12, 0]", "256·g²"]),
        ("classifier.1.weight", zeros(12, 4, 256), ["[12, 4, 256]", "256·g²"]),
        ("classifier.4.weight", zeros(12, 8), ["classifier.4.weight", "[12, 8]", "[units, 12]"]),
        ("classifier.6.bias", zeros(6), ["classifier.6.bias", "[6]", "[5]"]),
        ("features.1.weight", zeros(64), ["not expected: features.1.weight"]),
        ("evil\nname", zeros(1), [r"'evil\nname'"]),
    ):
        safetensors.numpy.save_file({**valid, name: value}, path)
        refused(path, words=words)
    for name in valid:
        safetensors.numpy.save_file({x: valid[x] for x in valid if x != name}, path)
        refused(path, words=[f"missing: {name}"])


def test_long_lists_of_names_are_abbreviated(tmp_path, refused):
    path = tmp_path / "w.safetensors"
    tensors = {f"layer{i}.weight": np.zeros(1, np.float32) for i in range(500)}
    safetensors.numpy.save_file(tensors, path)
    refused(path, "bvlc", words=["and 6 more", "and 496 more"])


def test_errors_state_shapes_in_the_order_of_the_file(tmp_path, layers, refused):
    valid = writers.named(layers("bvlc"))
    invalid = {**valid, "conv2/kernel": valid["conv2/kernel"].transpose(3, 2, 0, 1)}
    np.savez(tmp_path / "w.npz", **invalid)
    refused(tmp_path / "w.npz", "bvlc", words=["[256, 48, 5, 5]", "in bvlc [5, 5, 48, 256]"])
    np.savez(tmp_path / "w.npz", **{**valid, "fc6/kernel": valid["fc6/kernel"].T})
    refused(tmp_path / "w.npz", "bvlc", words=["[12, 1024]", "[256·g² (a g×g grid), units]"])


def test_shapes_of_another_variant(tmp_path, layers, refused):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(writers.caffemodel(layers("torchvision")))
    line = refused(path, "bvlc", words=["conv1.weight", "[64, 3, 11, 11]", "[96, 3, 11, 11]"])
    assert "in bvlc" in line


def test_invalid_caffemodels(tmp_path, layers, refused):
    path = tmp_path / "w.caffemodel"
    field, blob = writers.field, writers.blob
    kernel = np.zeros((96, 3, 11, 11), "<f4")
    bias = np.zeros(96, "<f4")
    conv1 = lambda *blobs: field(  # noqa: E731
        100, field(1, b"conv1") + b"".join(field(7, x) for x in blobs)
    )
    valid = writers.caffemodel(layers("bvlc"))
    for message, words in (
        (conv1(blob(kernel, "now")), ["'conv1' has 1 blobs"]),
        (conv1(*[blob(bias, "now")] * 3), ["'conv1' has 3 blobs"]),
        (
            conv1(blob(kernel, "now")[:-4] + field(7, field(1, 5)), blob(bias, "now")),
            ["w.caffemodel"],
        ),
        (
            conv1(field(7, field(1, 10**9)) + field(5, bytes(8)), blob(bias, "now")),
            ["'conv1.weight' has shape [1000000000] and 2 values"],
        ),
        (conv1(field(5, bytes(12)), blob(bias, "now")), ["'conv1.weight' has shape", "3 values"]),
        (conv1(field(7, field(1, 3)) + field(5, bytes(13)), blob(bias, "now")), ["do not match"]),
        (conv1(blob(kernel, "now"), blob(bias, "now")), ["missing: conv2.weight"]),
        (valid + conv1(blob(kernel, "now"), blob(bias, "now")), ["two layers named 'conv1'"]),
        (valid.replace(b"fc8", b"fc9"), ["missing: fc8.weight", "not expected: fc9.weight"]),
        (field(1, b"a net without layers"), ["no layers with weights"]),
        (struct.pack("<f", 1.0) * 20, ["w.caffemodel"]),
    ):
        path.write_bytes(message)
        refused(path, "bvlc", words=words)


def test_npy_with_other_contents(tmp_path, layers, refused):
    valid = layers("bvlc")
    for value, words in (
        ({**valid, "conv1": valid["conv1"][:1]}, ["'conv1' is not a kernel and a bias"]),
        ({**valid, "conv1": (valid["conv1"][0], [1.0])}, ["'conv1[1]' is not an array"]),
        ({**valid, "conv6": valid["conv1"]}, ["not expected: conv6[0], conv6[1]"]),
        ({"conv1": valid["conv1"]}, ["missing: conv2[0]"]),
    ):
        writers.write_npy(tmp_path / "w.npy", value)
        refused(tmp_path / "w.npy", "bvlc", words=words)
