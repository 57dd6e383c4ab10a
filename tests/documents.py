"""The code blocks of the documents, and the commands that a shell finds in them.

A block says what it is behind its fence; one that says nothing is for a shell.
"""

import ast
import dataclasses
import functools
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parents[1]
AT_ROOT = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
DOCUMENTS = [*filter(pathlib.Path.exists, AT_ROOT), *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
# In a table or a sentence: a whole command; `tfinvert NAME` alone is its name.
_INLINE = re.compile(
    r"`((?:python (?:recipes|export|benchmarks)/|tensorboard --|tfinvert [a-z-]+ )[^`]+)`"
)
_IN_DOCSTRING = re.compile(r"^    ((?:python|tfinvert) (?:.*\\\n)*.*)", re.MULTILINE)

# Programs of whose calls a note is taken instead.
_NOTED = (
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
_NOTE = """#!/bin/sh
printf '%s\\0' "$#" "${0##*/}" "$@" >> "$NOTES"
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Attributes:
      document: the file's name.
      line: of the opening fence, from 1.
      language: "shell" where the fence says nothing.
      text: what is between them.
    """

    document: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.document}:{self.line}"


@functools.cache
def blocks(document: pathlib.Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(document.name, text.count("\n", 0, found.start()) + 1, found[2] or "shell", found[3])
        for found in _FENCE.finditer(text)
    ]


def blocks_of(language: str) -> list[Block]:
    return [x for path in DOCUMENTS for x in blocks(path) if x.language == language]


def inline_commands(document: pathlib.Path) -> str:
    """Whole commands outside of the blocks, a line each."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return "".join(f"{found[1]}\n" for found in _INLINE.finditer(text))


def docstring_commands(program: pathlib.Path) -> str:
    """The commands that a program says of itself, a line each."""
    text = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or ""
    return "".join(f"{found[1]}\n" for found in _IN_DOCSTRING.finditer(text))


def commands(text: str, folder: pathlib.Path) -> list[list[str]]:
    """The programs that bash would start, each with its arguments, in order; it starts none.

    Args:
      text: a script.
      folder: an empty one, to run it in.
    """
    programs = folder / "programs"
    programs.mkdir()
    for name in _NOTED:
        (programs / name).write_text(_NOTE, encoding="utf-8")
        (programs / name).chmod(0o755)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(programs)
    for name in _TOOLS:
        (programs / name).symlink_to(f"/usr/bin/{name}")
    (folder / "photo.jpg").write_bytes(b"a photograph")
    notes = folder / "notes"
    notes.touch()
    done = subprocess.run(
        ["/bin/bash", "-euc", f"{text}\nwait"],
        cwd=folder,
        env={"PATH": str(programs), "NOTES": str(notes)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert not done.returncode and not done.stderr, f"{done.stderr}\n{text}"
    words = iter(notes.read_text(encoding="utf-8").split("\0")[:-1])
    return [[next(words) for _ in range(int(count) + 1)] for count in words]
