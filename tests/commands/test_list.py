"""`tfinvert list` shows what the cards of the shipped inverters say."""

import json
import pathlib
import re

import pytest

import tfinvert

SHIPPED = pathlib.Path(tfinvert.__file__).parent / "inverters"


def test_every_inverter_is_listed_once(outputs):
    names = re.findall(r"^  (\S+)@\d+ +(?:any|\d+×\d+) ", outputs["list",], re.MULTILINE)
    assert sorted(names) == tfinvert.shipped()


@pytest.mark.parametrize("name", tfinvert.shipped())
def test_an_inverter_is_listed_as_its_card_says(outputs, name):
    card = json.loads((SHIPPED / name / "inverter.json").read_text(encoding="utf-8"))
    made, shape = card["made"], card["feature"]["config"]["image_shape"]
    tables = outputs["list",].split("trained on:   ")
    (table,) = (table for table in tables if f"\n  {name}@" in table)
    assert table.startswith(f"{made['data']}\nevaluated on: {made['validation_data']}\n")
    size, error, megabytes = re.search(
        rf"^  {name}@\d+ +(\S+) +(\S+) +(\S+)$", table, re.M
    ).groups()
    assert size in ("any", f"{shape[0]}×{shape[1]}")
    assert error == f"{made['metrics']['normalized_error']:.3f}"
    files = sum(file.stat().st_size for file in (SHIPPED / name).iterdir())
    assert megabytes == f"{files / 1e6:.1f}"


def test_programs_get_json(outputs):
    entries = json.loads(outputs["list", "--json"])
    assert [entry["name"] for entry in entries] == tfinvert.shipped()
    hog = entries[tfinvert.shipped().index("hog")]
    assert hog["any_size"]
    assert hog["feature"] == "hog"
    assert hog["images"] == 500
