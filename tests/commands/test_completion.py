"""Completion scripts: shells can read them, and offer the flags and their values."""

import re
import shutil
import subprocess

import pytest

import tfinvert
from tests.programs import flags_in_help
from tfinvert.commands.completion import SCRIPTS
from tfinvert.config.registry import COMMANDS, EXPERIMENTS, OPTIMIZERS


@pytest.fixture(scope="module")
def scripts(tmp_path_factory, outputs):
    place = tmp_path_factory.mktemp("completion")
    for shell, make_script in SCRIPTS.items():
        (place / shell).write_text(f"{make_script()}\n", encoding="utf-8")
    assert (place / "bash").read_text() == outputs["completion", "bash"]
    (place / "photo.png").touch()
    return place


def run(shell, *arguments, cwd):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    return subprocess.run(
        [shell, *arguments], cwd=cwd, capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_can_read_its_script(scripts, shell):
    assert run(shell, "-n", shell, cwd=scripts) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_scripts_know_every_flag_of_a_command(scripts, outputs, name):
    flags = flags_in_help(outputs[name, "--help"]) | {"help"}
    bash, zsh, fish = ((scripts / shell).read_text() for shell in ("bash", "zsh", "fish"))
    (known,) = re.findall(rf"^ +'{name} '\*\) (.*)$", bash, re.MULTILINE)
    assert {*re.findall(r"--(\w+)", known)} == flags
    (known,) = re.findall(rf"^ +{name}\) (.*)$", zsh, re.MULTILINE)
    assert {*re.findall(r"'--(\w+)=?\[", known)} == flags
    assert {*re.findall(rf"_from {name}' -l (\w+) ", fish)} == flags


# As readline does: splits the line at blanks, = and :, and calls the function.
BASH = r"""
source ./bash
compopt() { :; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_tfinvert
printf '%s\n' "${COMPREPLY[@]}"
"""

LINES = [
    ("tfinvert re", ["reconstruct"]),
    ("tfinvert reconstruct --inv", ["--inverter="]),
    ("tfinvert reconstruct --inverter=hog", [x for x in tfinvert.shipped() if x[:3] == "hog"]),
    ("tfinvert reconstruct --inverter=", [*tfinvert.shipped(), "bash", "fish", "photo.png", "zsh"]),
    ("tfinvert reconstruct --inverter=hog ph", ["photo.png"]),
    ("tfinvert train --feature=sk", ["skimage_hog", "skimage_lbp"]),
    ("tfinvert train --optimizer=", [*OPTIMIZERS]),
    ("tfinvert train --steps=", []),
    ("tfinvert train --spr", []),  # a deprecated name
    ("tfinvert train --uncertainty=", ["none", "joint", "frozen"]),
    ("tfinvert train --notrain", ["--notrain_encoder", "--notrain_sampler"]),
    ("tfinvert analyze --experiment=", ["all", *EXPERIMENTS]),
    ("tfinvert serve-check --model=ph", ["photo.png"]),
    ("tfinvert completion f", ["fish"]),
]


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_bash_completes(scripts, line, offered):
    words = line.replace("=", " = ").split(" ")
    found = run(
        "bash", "-c", BASH, "bash", *words[: -1 if line.endswith("=") else None], cwd=scripts
    )
    assert sorted(filter(None, found)) == sorted(offered)


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_fish_completes(scripts, line, offered):
    found = run("fish", "--no-config", "-c", f"source fish; complete -C '{line}'", cwd=scripts)
    names = {text.partition("\t")[0].rpartition("=")[2] or text for text in found}
    assert {name.strip("-=") for name in offered} == {name.strip("-") for name in names}
