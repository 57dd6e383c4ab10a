"""Code blocks of the documents, the shell commands in them, and parsing of their arguments.

The language of a block follows its fence; a block without one is shell code.
"""

import ast
import contextlib
import copy
import dataclasses
import functools
import pathlib
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest
from absl import app, flags

from tfinvert.commands.flags import deprecated
from tfinvert.config.registry import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]
AT_ROOT = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
DOCUMENTS = [*filter(pathlib.Path.exists, AT_ROOT), *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
# Complete commands in tables and sentences; `tfinvert NAME` alone is the name of a command.
_INLINE = re.compile(
    r"`((?:python (?:recipes|export|benchmarks)/|tensorboard --|tfinvert [a-z-]+ )[^`]+)`"
)
_IN_DOCSTRING = re.compile(r"^    ((?:python|tfinvert) (?:.*\\\n)*.*)", re.MULTILINE)

# Programs that are replaced by a script that records its arguments.
_RECORDED = (
    "apt-get",
    "curl",
    "docker",
    "git",
    "kubectl",
    "make",
    "pip",
    "python",
    "tensorboard",
    "tfinvert",
)
_TOOLS = ("base64", "cat", "cp", "ls", "mkdir", "printf", "seq", "tr")
_RECORDER = """#!/bin/sh
printf '%s\\0' "$#" "${0##*/}" "$@" >> "$RECORD"
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
      document: path of the document, relative to the root of the checkout.
      line: line number of the opening fence, from 1.
      language: "shell" if the fence specifies none.
      text: the lines between the fences.
    """

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def relative_path(path: pathlib.Path) -> str:
    """Returns the path relative to the root of the checkout."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def read_document(document: pathlib.Path) -> str:
    """Returns the text of a document."""
    return document.read_text(encoding="utf-8")


@functools.cache
def code_blocks(document: pathlib.Path) -> list[Block]:
    """Returns the fenced code blocks of a document."""
    text = read_document(document)
    return [
        Block(
            relative_path(document),
            text.count("\n", 0, fence.start()) + 1,
            fence[2] or "shell",
            fence[3],
        )
        for fence in _FENCE.finditer(text)
    ]


def blocks_in(language: str) -> list[Block]:
    """Returns the code blocks of all documents in one language."""
    return [x for path in DOCUMENTS for x in code_blocks(path) if x.language == language]


def prose(document: pathlib.Path) -> str:
    """Returns the text of a document without its code blocks."""
    return _FENCE.sub("", read_document(document))


def inline_commands(document: pathlib.Path) -> str:
    """Returns the complete commands outside the code blocks, one per line."""
    return "".join(f"{command[1]}\n" for command in _INLINE.finditer(prose(document)))


def docstring_commands(program: pathlib.Path) -> str:
    """Returns the commands in the docstring of a program, one per line."""
    text = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or ""
    return "".join(f"{command[1]}\n" for command in _IN_DOCSTRING.finditer(text))


def shell_commands(script: str, folder: pathlib.Path) -> list[list[str]]:
    """Returns the programs that Bash would start, in order, with their arguments; starts none.

    Args:
      script: shell code.
      folder: an empty folder, in which the script runs.
    """
    programs = folder / "programs"
    programs.mkdir()
    for name in _RECORDED:
        (programs / name).write_text(_RECORDER, encoding="utf-8")
        (programs / name).chmod(0o755)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(programs)
    for name in _TOOLS:
        (programs / name).symlink_to(f"/usr/bin/{name}")
    (folder / "photo.jpg").write_bytes(b"a photograph")
    record = folder / "record"
    record.touch()
    finished = subprocess.run(
        ["/bin/bash", "-euc", f"{script}\nwait"],
        cwd=folder,
        env={"PATH": str(programs), "RECORD": str(record)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not finished.returncode and not finished.stderr, f"{finished.stderr}\n{script}"
    words = iter(record.read_text(encoding="utf-8").split("\0")[:-1])
    return [[next(words) for _ in range(int(count) + 1)] for count in words]


def flag_errors(program: str, argument_lists: Sequence[Sequence[str]]) -> list[str]:
    """Parses lists of arguments with the flags of a program.

    Args:
      program: "tfinvert COMMAND", or the path of a program, relative to the root of the checkout.
      argument_lists: each without the program.

    Returns:
      One error message for each list; empty if the program accepts it.
    """
    errors = []
    with defined_flags(program):
        for arguments in argument_lists:
            try:
                copy.deepcopy(flags.FLAGS)([program, *arguments])
                errors.append("")
            except flags.Error as error:
                errors.append(" ".join(str(error).split()))
    return errors


def deprecated_flags(program: str, arguments: Sequence[str]) -> list[str]:
    """Returns the deprecated names of flags among the arguments of a program."""
    names = [x.lstrip("-").partition("=")[0] for x in arguments if x.startswith("-")]
    with defined_flags(program):
        return [x for x in names if x in flags.FLAGS and deprecated.is_alias(x)]


@contextlib.contextmanager
def defined_flags(program: str) -> Iterator[None]:
    """Defines the flags of a program in this process, without running it."""
    before = {*flags.FLAGS}
    name = program.removeprefix("tfinvert ")
    try:
        with pytest.MonkeyPatch.context() as patch:
            if name in COMMANDS:
                COMMANDS[name].define_flags()
            else:
                patch.setattr(app, "run", lambda *_, **__: None)
                patch.setattr(sys, "argv", [program])
                runpy.run_path(str(ROOT / program), run_name="__main__")
            yield
    finally:
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
