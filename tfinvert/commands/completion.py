"""Generates completion scripts for shells from the flags of the commands: `tfinvert completion`."""

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from absl import flags

from tfinvert.commands.command import Command
from tfinvert.config.registry import (
    COMMANDS,
    ENDPOINTS,
    EXPERIMENTS,
    FEATURE_FAMILIES,
    FEATURES,
    LOSSES,
)
from tfinvert.errors import InputError
from tfinvert.zoo.registry import list_inverters, shipped

_INVERTERS = {"inverter", "inverters", "init_from"}
_PATHS = {*_INVERTERS, "model", "output", "workdir", "cache"}


class Option(NamedTuple):
    """A flag as a shell completes it.

    Attributes:
      name: the name without dashes.
      description: one line.
      takes_value: whether a value follows, which a switch does not take.
      words: values to offer.
      paths: whether to offer files and folders too.
    """

    name: str
    description: str
    takes_value: bool
    words: Sequence[str]
    paths: bool


def main(arguments: list[str]) -> None:
    """Prints the script for a shell."""
    if len(arguments) != 1 or arguments[0] not in SCRIPTS:
        raise InputError(
            f"completion takes the name of a shell: {', '.join(SCRIPTS)}. Received: "
            f"{' '.join(arguments) or 'none'}"
        )
    print(SCRIPTS[arguments[0]]())


def command_options(command: Command) -> list[Option]:
    """The options of a command, sorted; a switch has one to turn it off as well."""
    found = []
    for flag in command.list_flags():
        description = " ".join((flag.help or "").split())
        names = [flag.name, f"no{flag.name}"] if flag.boolean else [flag.name]
        words, paths = _words(flag), flag.name in _PATHS
        found += [Option(name, description, not flag.boolean, words, paths) for name in names]
    return sorted([*found, Option("help", "Help for the command.", False, (), False)])


def _words(flag: flags.Flag) -> Sequence[str]:
    """The values of a flag, as far as they can be listed."""
    if isinstance(flag, flags.EnumFlag):
        return flag.parser.enum_values
    if flag.name in _INVERTERS:
        return shipped()
    if flag.name == "feature":
        known = {*FEATURES, *(entry.feature for entry in list_inverters())}
        return sorted(known) + [f"{family}/" for family in FEATURE_FAMILIES]
    if flag.name in ("data", "training_data", "validation_data"):
        return ("photos", "folder:", "tfds:", "mix:")
    words = {"experiment": ("all", *EXPERIMENTS), "endpoints": [*ENDPOINTS], "loss": [*LOSSES]}
    return words.get(flag.name, ())


def _arguments(command: Command) -> tuple[Sequence[str], bool]:
    """The words that may follow the flags, and whether files may."""
    return (tuple(SCRIPTS), False) if command.name == "completion" else ((), command.arguments)


_BASH = """\
# Completes tfinvert in bash.
_tfinvert() {
  local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
  local flag= value= words= paths=
  COMPREPLY=()
  # Bash splits --flag=value and folder:PATH into three words each.
  if [[ $cur == '=' ]]; then
    flag=$before cur= value=yes
  elif [[ $before == '=' ]]; then
    flag=${COMP_WORDS[COMP_CWORD-2]} value=yes
  elif [[ $cur == ':' ]]; then
    cur= value=yes paths=yes
  elif [[ $before == ':' ]]; then
    value=yes paths=yes
  elif [[ $before == --* ]]; then
    flag=$before
  fi
  if ((COMP_CWORD == 1)); then
    words=@COMMANDS@
  elif [[ ! $paths ]]; then
    case "${COMP_WORDS[1]} $flag" in
@CASES@
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  if [[ $paths && $cur != -* ]]; then
    local path
    compopt -o filenames
    while IFS= read -r path; do COMPREPLY+=("$path"); done < <(compgen -f -- "$cur")
  fi
  if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=:/] ]]; then
    compopt -o nospace
  fi
}
complete -F _tfinvert tfinvert"""


def bash_script() -> str:
    """The script for bash 4.0 or newer."""
    cases = [case for command in COMMANDS.values() for case in _bash_cases(command)]
    script = _BASH.replace("@COMMANDS@", shlex.quote(" ".join(COMMANDS)))
    return script.replace("@CASES@", "\n".join(f"      {case}" for case in cases))


def _bash_cases(command: Command) -> Iterator[str]:
    for option in command_options(command):
        if option.words or option.paths:
            values = _bash_values(option.words, option.paths)
            yield f"'{command.name} --{option.name}') {values} ;;"
    arguments, files = _arguments(command)
    names = [f"--{x.name}{'=' if x.takes_value else ''}" for x in command_options(command)]
    values = _bash_values([*names, *arguments], files)
    yield f"'{command.name} '*) [[ $value ]] || {values} ;;"


def _bash_values(words: Sequence[str], paths: bool) -> str:
    return f"words={shlex.quote(' '.join(words))}{' paths=yes' if paths else ''}"


def zsh_script() -> str:
    """The script for zsh: the file of the function `_tfinvert`."""
    commands = [shlex.quote(f"{name}:{COMMANDS.describe(name)}") for name in COMMANDS]
    inverters = shlex.quote(f"name:inverter:({' '.join(shipped())})")
    lines = ["#compdef tfinvert", "# Completes tfinvert in zsh."]
    lines += [f"_tfinvert_inverters() {{ _alternative {inverters} 'path:directory:_files -/' }}"]
    lines += ["_tfinvert() {"]
    lines += ["  if ((CURRENT == 2)); then", "    local -a commands", "    commands=("]
    lines += [f"      {text}" for text in commands]
    lines += ["    )", "    _describe command commands", "    return", "  fi"]
    lines += ["  local command=$words[2]", "  shift words", "  ((CURRENT--))"]
    lines += ["  case $command in"]
    for name, command in COMMANDS.items():
        arguments, files = _arguments(command)
        specs = [_zsh_option(option) for option in command_options(command)]
        if arguments:
            specs.append(f"*:argument:({' '.join(arguments)})")
        elif files:
            specs.append("*:file:_files")
        lines.append(f"    {name}) _arguments {' '.join(map(shlex.quote, specs))} ;;")
    # In a folder of fpath, the file is the function's body; otherwise it is sourced.
    call = '[[ $funcstack[1] == _tfinvert ]] && _tfinvert "$@" || compdef _tfinvert tfinvert'
    return "\n".join([*lines, "  esac", "}", call])


def _zsh_option(option: Option) -> str:
    text = "".join(f"\\{x}" if x in "[]:\\" else x for x in option.description)
    if not option.takes_value:
        return f"--{option.name}[{text}]"
    words = " ".join(word.replace(":", "\\:") for word in option.words)
    if option.paths:
        action = "_tfinvert_inverters" if words else "_files"
    else:
        action = f"({words})" if words else " "
    return f"--{option.name}=[{text}]:{option.name}:{action}"


def fish_script() -> str:
    """The script for fish 3.0 or newer."""
    lines = ["# Completes tfinvert in fish.", "complete -c tfinvert -f"]
    for name, command in COMMANDS.items():
        first = "complete -c tfinvert -n __fish_use_subcommand"
        lines.append(f"{first} -a {name} -d {_fish(COMMANDS.describe(name))}")
        start = f"complete -c tfinvert -n '__fish_seen_subcommand_from {name}'"
        for option in command_options(command):
            value = (" -r -F" if option.paths else " -x") if option.takes_value else ""
            value += f" -a {_fish(' '.join(option.words))}" if option.words else ""
            lines.append(f"{start} -l {option.name} -d {_fish(option.description)}{value}")
        arguments, files = _arguments(command)
        if files:
            lines.append(f"{start} -F")
        elif arguments:
            lines.append(f"{start} -a {_fish(' '.join(arguments))}")
    return "\n".join(lines)


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
