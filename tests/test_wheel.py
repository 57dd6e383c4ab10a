"""The wheel contains everything that `tfinvert.load` and the command need."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from setuptools import discovery

import tfinvert

ROOT = pathlib.Path(__file__).parents[1]
OFFLINE = ("--no-deps", "--no-build-isolation")
MAX_WHEEL_BYTES = 104_000_000  # PyPI accepts 100 MiB

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, skimage.data, skimage.transform, tfinvert
assert tfinvert.__file__.startswith(sys.argv[1]), tfinvert.__file__
photo = skimage.transform.resize(skimage.data.coffee()[:, 100:500], (64, 64), anti_aliasing=True)
reconstruction = tfinvert.load("hog-64").reconstruct(photo[None])
np.save(sys.argv[2], np.stack([photo, reconstruction[0]]))
"""


def test_every_file_of_the_package_is_declared(monkeypatch):
    declared = {}
    monkeypatch.setattr("setuptools.setup", lambda **arguments: declared.update(arguments))
    monkeypatch.chdir(ROOT)
    exec(
        compile((ROOT / "setup.py").read_text(encoding="utf-8"), str(ROOT / "setup.py"), "exec"),
        {"__file__": str(ROOT / "setup.py"), "__name__": "__main__"},
    )
    packages = {*declared["packages"]}
    assert packages == {
        name for name in discovery.PackageFinder.find(str(ROOT)) if name.split(".")[0] == "tfinvert"
    }
    files = {path for path in (ROOT / "tfinvert").rglob("*") if path.is_file()}
    modules = {path for path in files if path.suffix == ".py"}
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in modules} == packages
    data = {path for path in files - modules if "__pycache__" not in path.parts}
    patterns = declared["package_data"]["tfinvert"]
    assert data == {path for pattern in patterns for path in (ROOT / "tfinvert").glob(pattern)}
    assert sum(path.stat().st_size for path in files) <= 1.1 * MAX_WHEEL_BYTES


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package installed in an otherwise empty folder, from a wheel of a copy of the tree."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = place / "source"  # a build folder inside the tree would become part of the next build
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "tfinvert"):
        subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    subprocess.run([*pip, "wheel", *OFFLINE, "-w", place, source], check=True, cwd=place)
    (wheel,) = place.glob("tfinvert-*.whl")
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    target = place / "target"
    subprocess.run([*pip, "install", *OFFLINE, "--target", target, wheel], check=True, cwd=place)
    return target


@pytest.mark.slow
def test_the_wheel_reconstructs_a_photograph_outside_the_checkout(installed, tmp_path):
    output = tmp_path / "images.npy"
    subprocess.run([sys.executable, "-c", PROGRAM, installed, output], check=True, cwd=tmp_path)
    photo, reconstruction = np.load(output)
    assert reconstruction.shape == (64, 64, 3)
    assert np.sqrt(np.mean((photo - reconstruction) ** 2)) < 0.8 * photo.std()


@pytest.mark.slow
def test_the_wheel_contains_no_tests_or_recipes(installed):
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"tfinvert", "bin"}


@pytest.mark.slow
def test_the_wheel_installs_the_command(installed, tmp_path):
    finished = subprocess.run(
        [installed / "bin" / "tfinvert", "list"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(f"\n  {name}@" in finished.stdout for name in tfinvert.shipped())
