"""Deprecated names of flags and values: they work, with a warning that names the new ones."""

import pytest
from absl import flags

from tests.programs import error_line, run
from tfinvert.commands import runtime
from tfinvert.commands.flags import deprecated
from tfinvert.config.registry import COMMANDS

# command → old flag, with a value → new flag, with the value that it has then
RENAMED = {
    "train": {
        "--spread=beside": ("--uncertainty=joint", "joint"),
        "--spread=alone": ("--uncertainty=frozen", "frozen"),
        "--uncertainty=beside": ("--uncertainty=joint", "joint"),
        "--loss=squared:10,absolute": ("--loss=mse:10,mae", "mse:10,mae"),
        "--loss=ssim,squared": ("--loss=ssim,mse", "ssim,mse"),
        "--averaging=0.5": ("--ema_decay", 0.5),
        "--spike=3": ("--spike_threshold", 3.0),
        "--start=hog": ("--init_from", "hog"),
        "--samples": ("--train_sampler", True),
        "--nosamples": ("--train_sampler", False),
        "--units=7": ("--hidden_units", 7),
        "--accumulate=2": ("--accumulation_steps", 2),
        "--jitter=0.1": ("--color_jitter", 0.1),
        "--dtype=float16": ("--weights_dtype", "float16"),
    },
    "evaluate": {
        "--samples=3": ("--num_samples", 3),
        "--images=9": ("--max_images", 9),
        "--part=all": ("--split", "all"),
    },
    "reconstruct": {"--samples=3": ("--num_samples", 3)},
    "analyze": {"--images=9": ("--max_images", 9)},
}
REQUIRED = {
    "train": ["--feature=hog", "--workdir=run"],
    "evaluate": ["--inverter=hog"],
    "analyze": ["--experiment=all", "--workdir=run"],
}
CASES = [(command, old, *new) for command, flag in RENAMED.items() for old, new in flag.items()]


@pytest.fixture
def parse(monkeypatch, capsys):
    """The flags of a command after parsing, and what was printed on standard error."""

    def parse(command, *arguments):
        values = {}

        def read(main, flags_parser):
            flags_parser(["tfinvert", *REQUIRED.get(command, []), *arguments])
            values.update(flags.FLAGS.flag_values_dict())

        monkeypatch.setattr(runtime.app, "run", read)
        before = {*flags.FLAGS}
        COMMANDS[command].define_flags()
        try:
            runtime.run(print)
        finally:
            flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
        return values, capsys.readouterr().err

    return parse


@pytest.mark.parametrize(("command", "old", "new", "value"), CASES)
def test_an_old_name_sets_the_new_flag_and_warns_in_one_line(parse, command, old, new, value):
    values, printed = parse(command, old)
    assert values[new.lstrip("-").partition("=")[0]] == value
    given = old.replace("--no", "--") if "=" in new else old.partition("=")[0].replace("--no", "--")
    assert printed == f"warning: {given} is deprecated; use {new}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_new_names_give_no_warning(parse, command):
    assert (
        parse(command)[1] == "" if command in {"list", "completion", "studio", *REQUIRED} else True
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_aliases_are_no_flags_of_a_command(command):
    assert not [x for x in COMMANDS[command].list_flags() if hasattr(x, "alias_of")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--averaging=0.5", "--ema_decay=0.6"],
            "--averaging is the old name of --ema_decay; give --ema_decay alone",
        ),
        (
            ["--uncertainty=joint", "--spread=beside"],
            "--spread is the old name of --uncertainty; give --uncertainty alone",
        ),
        (["--spread=both"], "--uncertainty=both: value should be one of <none|joint|frozen>"),
        (["--averaging=much"], "--ema_decay=much"),
    ],
)
def test_a_wrong_use_of_an_old_name_is_one_line(arguments, message):
    finished = run("tfinvert", "train", "--feature=hog", "--workdir=run", *arguments)
    assert message in error_line(finished)
    assert len(finished.stderr.splitlines()) == 1


def test_an_alias_is_told_from_a_flag():
    before = {*flags.FLAGS}
    COMMANDS["analyze"].define_flags()
    try:
        assert deprecated.is_alias("images") and not deprecated.is_alias("max_images")
    finally:
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
