"""Writers for all formats of AlexNet weight files, independent of the readers."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import safetensors.numpy

LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
MODULES = [f"features.{i}" for i in (0, 3, 6, 8, 10)] + [f"classifier.{i}" for i in (1, 4, 6)]


def channels_first(layers) -> dict:
    """Converts kernels to [out, in, h, w] and [units, inputs], with fc6 flattened as C, H, W."""
    found = {}
    for name, (kernel, bias) in layers.items():
        if kernel.ndim == 4:
            kernel = np.stack([kernel[..., i].transpose(2, 0, 1) for i in range(kernel.shape[3])])
        elif name == "fc6":
            side = round((kernel.shape[0] / 256) ** 0.5)
            rows = [
                (y * side + x) * 256 + c
                for c in range(256)
                for y in range(side)
                for x in range(side)
            ]
            kernel = kernel[rows].T
        else:
            kernel = kernel.T
        found[name] = np.ascontiguousarray(kernel), bias
    return found


def torchvision_tensors(layers) -> dict:
    modules = dict(zip(LAYERS, MODULES, strict=True))
    return {
        f"{modules[name]}.{part}": x
        for name, pair in channels_first(layers).items()
        for part, x in zip(("weight", "bias"), pair, strict=True)
    }


def caffe_tensors(layers) -> dict:
    return {
        f"{name}.{part}": x
        for name, pair in channels_first(layers).items()
        for part, x in zip(("weight", "bias"), pair, strict=True)
    }


class Named:
    """Pickled as the global "module:name", which need not exist."""

    def __init__(self, name):
        self.name = name


class Call:
    """Pickled as a call of a global."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class PersistentId(tuple):
    """Pickled as a persistent identifier."""

    def __new__(cls, *parts):
        return super().__new__(cls, parts)


class TorchPickler(pickle._Pickler):
    """Pickles NumPy arrays as PyTorch pickles tensors."""

    legacy = False

    def save(self, obj, *args, **kwargs):
        if isinstance(obj, Named):
            if self.proto >= 4:
                for part in obj.name.split(":"):
                    super().save(part)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + obj.name.replace(":", "\n").encode() + b"\n")
        elif isinstance(obj, Call):
            self.save(Named(obj.name))
            self.save(obj.args)
            self.write(pickle.REDUCE)
        elif isinstance(obj, PersistentId):
            self.save(tuple(obj))
            self.write(pickle.BINPERSID)
        elif isinstance(obj, np.ndarray):
            kind = {"f2": "Half", "f4": "Float", "f8": "Double", "i8": "Long"}[obj.dtype.str[1:]]
            more = (None,) if self.legacy else ()
            key = str(len(self.arrays))
            storage = Named(f"torch:{kind}Storage")
            pid = PersistentId("storage", storage, key, "cpu", obj.size, *more)
            strides = tuple(step // obj.itemsize for step in obj.strides)
            rebuild = "torch._utils:_rebuild_tensor_v2"
            self.save(Call(rebuild, pid, 0, obj.shape, strides, False, collections.OrderedDict()))
            self.arrays.append(obj)
        else:
            super().save(obj, *args, **kwargs)


def torch_pickle(value, legacy=False, protocol=2) -> tuple[bytes, list[np.ndarray]]:
    stream = io.BytesIO()
    pickler = TorchPickler(stream, protocol)
    pickler.legacy, pickler.arrays = legacy, []
    pickler.dump(value)
    return stream.getvalue(), pickler.arrays


def write_archive(path, data, storages, compression=zipfile.ZIP_STORED, byteorder=b"little"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", byteorder)
        for i, raw in enumerate(storages):
            archive.writestr(f"archive/data/{i}", raw)
        archive.writestr("archive/version", b"3\n")


def write_pth(path, tensors):
    data, arrays = torch_pickle(collections.OrderedDict(tensors))
    write_archive(path, data, [array.tobytes() for array in arrays])


def write_legacy_pth(path, tensors):
    data, arrays = torch_pickle(collections.OrderedDict(tensors), legacy=True)
    with open(path, "wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            file.write(pickle.dumps(value, 2))
        file.write(data + pickle.dumps([str(i) for i in range(len(arrays))], 2))
        for array in arrays:
            file.write(struct.pack("<q", array.size) + array.tobytes())


def varint(number) -> bytes:
    parts = [number & 127]
    while number := number >> 7:
        parts.append(number & 127)
    return bytes([part | 128 for part in parts[:-1]] + parts[-1:])


def field(number, value) -> bytes:
    """Encodes a field of a Protocol Buffers message; the value is bytes or a number."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def blob(array, how) -> bytes:
    """Encodes a BlobProto: "now", "double" (packed dimensions and doubles) or "old"."""
    if how == "old":
        shape = (1,) * (4 - array.ndim) + array.shape
        return b"".join(field(i + 1, n) for i, n in enumerate(shape)) + field(5, array.tobytes())
    if how == "double":
        return field(7, field(1, b"".join(map(varint, array.shape)))) + field(
            8, array.astype("<f8").tobytes()
        )
    gradient = field(6, np.zeros(3, "<f4").tobytes())
    return (
        field(7, b"".join(field(1, n) for n in array.shape)) + field(5, array.tobytes()) + gradient
    )


def caffemodel(layers, how="now") -> bytes:
    """Encodes a NetParameter; "old" has V1 layers with legacy blobs."""
    net, place, name_at, blobs_at = (2, 2, 4, 6) if how == "old" else (100, 100, 1, 7)
    message = field(1, b"AlexNet") + field(net, field(name_at, b"data") + field(2, b"Data"))
    for name, pair in channels_first(layers).items():
        blobs = b"".join(field(blobs_at, blob(array, how)) for array in pair)
        message += field(place, field(name_at, name.encode()) + blobs + field(10, 0))
        message += field(place, field(name_at, b"relu_of_" + name.encode()))
    return message


def write_npy(path, layers, protocol=2):
    """Writes a file as NumPy does: a header, and a pickled 0-d array that contains the dict."""
    value = np.empty((), object)
    value[()] = {name: list(pair) for name, pair in layers.items()}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        file.write(pickle.dumps(value, protocol))


def lpips(layers) -> dict:
    found = {
        f"Conv_{i}": dict(zip(("kernel", "bias"), layers[f"conv{i + 1}"], strict=True))
        for i in range(5)
    }
    return {"AlexNet_0": found, "NetLinLayer_0": {"Conv_0": {"kernel": np.ones((1, 1, 64, 1))}}}


def named(layers) -> dict:
    return {
        f"{name}/{part}": x
        for name, pair in layers.items()
        for part, x in zip(("kernel", "bias"), pair, strict=True)
    }


def _writer(ending, write):
    def to(folder, layers):
        path = folder / f"alexnet{ending}"
        write(path, layers)
        return path

    return to


# (variant, format) → function of (folder, layers in Keras' order), which returns the file's path.
WRITERS = {
    ("torchvision", "pth"): _writer(".pth", lambda p, x: write_pth(p, torchvision_tensors(x))),
    ("torchvision", "legacy pth"): _writer(
        ".pth", lambda p, x: write_legacy_pth(p, torchvision_tensors(x))
    ),
    ("torchvision", "safetensors"): _writer(
        ".safetensors", lambda p, x: safetensors.numpy.save_file(torchvision_tensors(x), p)
    ),
    ("caffenet", "safetensors"): _writer(
        ".safetensors", lambda p, x: safetensors.numpy.save_file(caffe_tensors(x), p)
    ),
    ("bvlc", "npy"): _writer(".npy", write_npy),
    ("bvlc", "npy, protocol 5"): _writer(".npy", lambda p, x: write_npy(p, x, 5)),
    ("caffenet", "npz"): _writer(".npz", lambda p, x: np.savez(p, **named(x))),
    ("bvlc", "packed npz"): _writer(".npz", lambda p, x: np.savez_compressed(p, **named(x))),
    ("bvlc", "caffemodel"): _writer(".caffemodel", lambda p, x: p.write_bytes(caffemodel(x))),
    ("caffenet", "caffemodel"): _writer(
        ".caffemodel", lambda p, x: p.write_bytes(caffemodel(x, "double"))
    ),
    ("caffenet", "old caffemodel"): _writer(
        ".caffemodel", lambda p, x: p.write_bytes(caffemodel(x, "old"))
    ),
    ("torchvision", "ckpt"): _writer(
        ".ckpt", lambda p, x: p.write_bytes(pickle.dumps(lpips(x), 3))
    ),
}
