"""Prints what completes commands, flags and names in bash, zsh or fish.

    eval "$(tfinvert completion bash)"              # in ~/.bashrc
    tfinvert completion zsh > _tfinvert             # into a folder of $fpath, before compinit
    tfinvert completion fish > tfinvert.fish        # into ~/.config/fish/completions

The words stand in the script, so that completing starts no program; print it again after an update.
"""


def define_flags() -> None:
    """It has none: the shell follows."""
