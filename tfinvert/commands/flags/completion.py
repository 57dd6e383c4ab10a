"""Prints a script that completes commands, flags and names in bash, zsh or fish.

    eval "$(tfinvert completion bash)"              # in ~/.bashrc
    tfinvert completion zsh > _tfinvert             # into a folder of $fpath, before compinit
    tfinvert completion fish > tfinvert.fish        # into ~/.config/fish/completions

The script contains all words, so completion starts no program; print it again after an update.
"""

from tfinvert.commands.command import Command

COMMAND = Command(module=__name__, order=90, arguments=True, quick=True)


def define_flags() -> None:
    """Defines no flags: the name of the shell is an argument."""
