"""A program that only parses flags: many command lines of one, for the price of one start.

`python tests/parsing.py FILE PROGRAM [COMMAND]` reads lists of arguments from a JSON file, and says
what PROGRAM has against each: a line, empty where it takes them.
"""

import copy
import json
import os
import runpy
import sys

from absl import app, flags

file, program, *command = sys.argv[1:]
with open(file, encoding="utf-8") as opened:
    lists = json.load(opened)


def parse(*_: object, **__: object) -> None:
    """Instead of the program, when its flags are there."""
    for arguments in lists:
        try:
            copy.deepcopy(flags.FLAGS)([program, *arguments])
            print()
        except flags.Error as error:
            print(" ".join(str(error).split()))


app.run = parse
sys.argv = [program, *command]
sys.path[0] = os.path.dirname(program)
runpy.run_path(program, run_name="__main__")
