"""What `tfinvert list` says of an inverter is what its card says."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

import tfinvert

SHIPPED = pathlib.Path(tfinvert.__file__).parent / "inverters"


def listed(*flags):
    command = [sys.executable, "-m", "tfinvert", "list", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def table():
    return listed()


def test_every_inverter_is_listed_once(table):
    names = re.findall(r"^  (\S+)@\d+ +(?:any|\d+×\d+) ", table, re.MULTILINE)
    assert sorted(names) == tfinvert.shipped()


@pytest.mark.parametrize("name", tfinvert.shipped())
def test_an_inverter_is_listed_as_its_card_says(table, name):
    card = json.loads((SHIPPED / name / "inverter.json").read_text(encoding="utf-8"))
    made, shape = card["made"], card["feature"]["config"]["image_shape"]
    (block,) = (block for block in table.split("trained on:  ") if f"\n  {name}@" in block)
    assert block.startswith(f"{made['data']}\nmeasured on: {made['validation_data']}\n")
    size, error, megabytes = re.search(
        rf"^  {name}@\d+ +(\S+) +(\S+) +(\S+)$", block, re.M
    ).groups()
    assert size in ("any", f"{shape[0]}×{shape[1]}")
    assert error == f"{made['metrics']['normalized_error']:.3f}"
    files = sum(file.stat().st_size for file in (SHIPPED / name).iterdir())
    assert megabytes == f"{files / 1e6:.1f}"


def test_programs_get_the_same():
    entries = json.loads(listed("--json"))
    assert [entry["name"] for entry in entries] == tfinvert.shipped()
    hog = entries[tfinvert.shipped().index("hog")]
    assert hog["any_size"]
    assert hog["feature"] == "hog"
    assert hog["images"] == 500
