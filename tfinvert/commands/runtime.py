"""How the command line programs start and fail."""

import gc
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from tfinvert.common.memory import peak_memory
from tfinvert.errors import InputError, Interrupted


def run(
    main: Callable[..., None], arguments: bool = False, help: str = "", quick: bool = False
) -> None:
    """Parses the flags and runs `main`.

    Wrong flags and wrong input end with one line on standard error and exit status 2; a run that is
    told to stop ends with status 130 (Ctrl-C) or 143 (SIGTERM).

    Args:
      main: the program.
      arguments: whether it takes the list of what follows the flags; else nothing may follow.
      help: what `--help` shows above the flags; else the docstring of the file that was started.
      quick: whether nothing is said of the memory it took.
    """
    if help:
        sys.modules["__main__"].__doc__ = help  # where absl looks

    def guarded(argv: Sequence[str]) -> int:
        logging.set_verbosity(logging.WARNING)
        signal.signal(signal.SIGTERM, _terminated)
        if len(argv) > 1 and not arguments:
            return fail(f"unexpected argument {argv[1]!r}; every input is a --flag")
        try:
            main(list(argv[1:])) if arguments else main()
            if not quick:
                print(f"peak memory: {peak_memory():.2f} GB")
            return 0
        except (InputError, OSError, Interrupted, KeyboardInterrupt) as error:
            status = _say(error)
            _forget(error)
            return status

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    """The program and what follows its flags."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        message = re.sub(
            r"flag (--\w+)=None: Flag \1 must have a value other than None",
            r"\1 is needed",
            str(error),
        )
        sys.exit(fail(f"{message.rstrip('.')} ({argv[0]} --help lists the flags)"))
    except SystemExit:  # --help was given, which absl ends with status 1
        sys.exit(0)


def _terminated(number: int, frame: object) -> None:
    """So that what is being written is cleared away, as after Ctrl-C."""
    raise Interrupted("terminated", number)


def _say(error: BaseException) -> int:
    """Prints the one line that an error deserves; the exit status."""
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted("interrupted", signal.SIGINT)
    if isinstance(error, Interrupted):
        print(f"\n{error}", file=sys.stderr)
        return error.status
    if isinstance(error, InputError):
        return fail(str(error))
    return fail(f"{error.filename or 'file'}: {error.strerror or error}")


def fail(message: str) -> int:
    """Prints the one line that tells of an error; the exit status."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _forget(error: BaseException | None) -> None:
    """Lets go of all that the functions which failed still hold.

    Of an iterator of tf.data, first of all: its threads call Python, and while the interpreter
    ends they can no more, so that TensorFlow would wait for them for ever.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()
