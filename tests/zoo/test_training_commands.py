"""The commands that train the shipped inverters again: their flags, and two steps of each."""

import json
import re
import shlex

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

import tfinvert
from tests.programs import run
from tfinvert.features import describe
from tfinvert.zoo.registry import CARD_FILE, INVERTERS_DIR, list_inverters

ENTRIES = {entry.name: entry for entry in list_inverters()}
# Flags of the last command but those of data and output, and the fields of the card.
FIELDS = {
    "width": "width",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "hidden_units": "units",
    "precision": "precision",
    "optimizer": "optimizer",
    "network": "network",
}
DEFAULTS = {"width": 1, "batch_size": 64, "weight_decay": 0.02, "hidden_units": 0}
DEFAULTS |= {"precision": "float32", "optimizer": "muon", "network": "residual"}
FOLDERS = {
    "Tiny ImageNet, training images 64×64 of 200 classes": "train",
    "24 402 photographs of many kinds, shorter side 220 to 256 pixels": "photographs",
}


def parse_flags(command):
    """The flags of a command, as text."""
    program, subcommand, *words = shlex.split(command)
    assert (program, subcommand) == ("tfinvert", "train")
    pairs = [re.fullmatch(r"--(\w+)(?:=(.*))?", word).groups() for word in words]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("name", ENTRIES)
def test_commands_have_the_settings_of_the_card(name):
    commands = [*map(parse_flags, ENTRIES[name].commands)]
    made = json.loads((INVERTERS_DIR / name / CARD_FILE).read_text(encoding="utf-8"))["made"]
    main = commands[0] if made.get("spread") == "alone" else commands[-1]
    if name == "hog-adversarial":  # its card has the settings of its first part, and all steps
        assert sum(int(flags["steps"]) for flags in commands) == made["steps"]
        main = commands[0] | {"steps": made["steps"]}
    assert int(main["steps"]) == made["steps"]
    assert main["feature"].partition(":")[0] == made["feature"]
    assert int(main.get("image_size", 64)) == made["image_size"]
    for flag, field in FIELDS.items():
        if field in made and not (name == "hog-adversarial" and field == "optimizer"):
            value = main.get(flag, DEFAULTS.get(flag))
            assert type(made[field])(value) == made[field], flag
    sources = re.findall(r"folder:(\w+)", main["data"])
    data = made.get("samples_data", made["data"])
    assert {*sources} == {x for text, x in FOLDERS.items() if text in data}
    if "cached_views" not in main and len(sources) == 1:
        assert float(main["min_crop"]) == made["min_crop"]
        assert int(main.get("shift", 0)) == made["shift"]
    if "spread_training" in made:
        for field in ("steps", "batch_size", "learning_rate", "shift"):
            value = commands[-1].get(field, DEFAULTS.get(field))
            assert float(value) == made["spread_training"][field]
        assert commands[-1]["uncertainty"] == "frozen"


@pytest.mark.parametrize("name", ENTRIES)
def test_commands_form_a_chain(name):
    commands = [*map(parse_flags, ENTRIES[name].commands)]
    written = set()
    for flags in commands:
        assert flags.get("init_from") in {None, *written}
        written.add(f"{flags['workdir']}/inverter")
    assert commands[-1]["workdir"] == f"runs/{name}"
    assert ENTRIES[name].differences.endswith(".")
    assert len({flags["weights_dtype"] for flags in commands}) == 1


def test_the_card_of_a_loaded_inverter_has_the_commands():
    card = tfinvert.load("hog-64").card
    assert tuple(card["commands"]) == ENTRIES["hog-64"].commands
    assert card["differences"] == ENTRIES["hog-64"].differences


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The four folders that the commands expect, with two photographs each."""
    place = tmp_path_factory.mktemp("commands")
    photos = [skimage.data.chelsea(), skimage.data.astronaut()]
    for folder, size in {"train": 64, "val": 64, "photographs": 240, "samples": 240}.items():
        (place / folder).mkdir()
        for number, photo in enumerate(photos):
            image = Image.fromarray(photo[:300, :300]).resize((size, size))
            image.save(place / folder / f"{number}.png")
    return place


@pytest.fixture
def eagerly():
    """Runs functions without tracing them, which would take most of the time of two steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def run_commands(commands, place):
    """Runs commands for two steps of two images, in float32."""
    reduced = {"steps": 2, "batch_size": 2, "cached_views": 1, "precision": "float32"}
    for command in commands:
        given = parse_flags(command)
        given |= {flag: value for flag, value in reduced.items() if flag in given}
        words = [f"--{flag}" + f"={value}" * (value is not None) for flag, value in given.items()]
        finished = run("tfinvert", "train", *words, cwd=place)
        assert finished.returncode == 0, finished.stderr


def weight_shapes(model):
    return [(variable.path, tuple(variable.shape)) for variable in model.weights]


@pytest.mark.slow
def test_the_first_command_of_an_inverter_builds_its_network(place, eagerly):
    run_commands(ENTRIES["alexnet-fc8-64"].commands[:1], place)
    ours = tfinvert.load(place / "runs" / "alexnet-fc8-64-network" / "inverter")
    assert weight_shapes(ours.network) == weight_shapes(tfinvert.load("alexnet-fc8-64").network)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_commands_run_and_build_the_shipped_networks(name, place, eagerly):
    run_commands(ENTRIES[name].commands, place)
    ours, shipped = tfinvert.load(place / "runs" / name / "inverter"), tfinvert.load(name)
    assert describe(ours.feature) == describe(shipped.feature)
    assert ours.output_size == shipped.output_size
    assert weight_shapes(ours.network) == weight_shapes(shipped.network)
    assert bool(ours.uncertainty_head) == bool(shipped.uncertainty_head)
    if ours.uncertainty_head:
        heads = (inverter.uncertainty_head.head for inverter in (ours, shipped))
        assert len({str(weight_shapes(head)) for head in heads}) == 1
    assert bool(ours.flow) == bool(shipped.flow)
    if ours.flow:
        networks = (inverter.flow.network for inverter in (ours, shipped))
        assert len({str(weight_shapes(network)) for network in networks}) == 1
    with np.load(place / "runs" / name / "inverter" / "weights.npz") as arrays:
        dtypes = {arrays[key].dtype for key in arrays if key.startswith("network/")}
    assert dtypes == {np.dtype(np.float16)}
