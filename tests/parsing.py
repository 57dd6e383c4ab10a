"""Parses many command lines of one program in a single process.

`python tests/parsing.py FILE PROGRAM [COMMAND]` reads lists of arguments from a JSON file
and prints a line for each: PROGRAM's error message, or nothing if the arguments are valid.
"""

import copy
import json
import os
import runpy
import sys

from absl import app, flags

from tfinvert.commands.flags.deprecated import is_alias

file, program, *command = sys.argv[1:]
with open(file, encoding="utf-8") as opened:
    lists = json.load(opened)


def parse_all(*_: object, **__: object) -> None:
    """Replaces `app.run`, which is called when the program has defined its flags."""
    for arguments in lists:
        try:
            parsed = copy.deepcopy(flags.FLAGS)
            parsed([program, *arguments])
            old = [name for name in parsed if is_alias(name) and parsed[name].present]
            print(f"deprecated: {', '.join(old)}" if old else "")
        except flags.Error as error:
            print(" ".join(str(error).split()))


app.run = parse_all
sys.argv = [program, *command]
sys.path[0] = os.path.dirname(program)
runpy.run_path(program, run_name="__main__")
