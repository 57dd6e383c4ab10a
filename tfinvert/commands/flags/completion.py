"""Prints what completes commands, flags and names in bash, zsh or fish.

    source <(tfinvert completion bash)                                      # in ~/.bashrc
    tfinvert completion zsh > "${fpath[1]}/_tfinvert"                       # before compinit
    tfinvert completion fish > ~/.config/fish/completions/tfinvert.fish

The words stand in the script, so that completing starts no program; print it again after an update.
"""


def define_flags() -> None:
    """It has none: the shell follows."""
