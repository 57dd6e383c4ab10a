"""Start and exit of the command-line programs: flags, error messages and exit statuses."""

import contextlib
import gc
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from tfinvert.commands.flags.deprecated import check_deprecated
from tfinvert.commands.streams import PIPE_STATUS, safe_streams
from tfinvert.common.memory import peak_memory
from tfinvert.errors import InputError, Interrupted

# As in ~/x, folder:~/x, name=~user/x and mix:1:folder:~+1:photos.
_HOME = re.compile(r"(?<![^:=,])~[\w.-]*(?=[/:,+]|$)")


def run(
    main: Callable[..., None],
    arguments: bool = False,
    help: str = "",
    quick: bool = False,
    any_backend: bool = True,
) -> None:
    """Parses the flags and runs `main`.

    Wrong flags and wrong input end with one line on standard error and exit status 2; an
    interrupted run ends with status 130 (Ctrl-C) or 143 (SIGTERM). A deprecated flag gives a
    warning of one line on standard error. In the values of flags, `~` at the beginning of a path is
    the home folder. `safe_streams` describes output.

    Args:
      main: the program.
      arguments: whether `main` takes the list of arguments after the flags; otherwise there may be
        none.
      help: text that `--help` shows above the flags; by default the docstring of the program.
      quick: whether to leave out the line with the peak memory.
      any_backend: whether `main` runs on every Keras backend; if False, it is not started on
        another backend than TensorFlow, which counts as wrong input.
    """
    if help:
        sys.modules["__main__"].__doc__ = help  # where absl looks for it

    def guarded(argv: Sequence[str]) -> int:
        logging.set_verbosity(logging.WARNING)
        signal.signal(signal.SIGTERM, _raise_interrupted)
        if len(argv) > 1 and not arguments:
            return fail(f"unexpected argument; every input is a --flag. Received: {argv[1]!r}")
        try:
            if not any_backend:
                from tfinvert.common.backend import require_tensorflow  # imports Keras

                require_tensorflow(argv[0])
            with contextlib.nullcontext() if quick else _default_settings():
                main([*map(os.path.expanduser, argv[1:])]) if arguments else main()
            if not quick:
                print(f"peak memory: {peak_memory():.2f} GB")
            return 0
        except (InputError, OSError, Interrupted, KeyboardInterrupt) as error:
            status = _report_error(error)
            _release_frames(error)
            return status

    with safe_streams():
        app.run(guarded, flags_parser=_parse_flags)


def _default_settings() -> contextlib.AbstractContextManager[None]:
    from tfinvert.common.backend import default_settings  # imports Keras

    return default_settings


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; returns the program and the arguments after the flags."""
    try:
        arguments = flags.FLAGS(argv)
        _expand_home()
        for warning in check_deprecated():
            print(f"warning: {warning}", file=sys.stderr)
        return arguments
    except flags.Error as error:
        message = re.sub(
            r"flag (--\w+)=None: Flag \1 must have a value other than None",
            r"\1 is required",
            str(error),
        )
        sys.exit(fail(f"{message.rstrip('.')} ({argv[0]} --help lists the flags)"))
    except SystemExit:  # after --help, for which absl has status 1
        sys.exit(0)


def _expand_home() -> None:
    """Expands `~` in the values of flags where shells do in assignments, and in lists."""
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if isinstance(flag.value, str):
            flag.value = _HOME.sub(_home, flag.value)
        elif isinstance(flag.value, list):
            flag.value = [_HOME.sub(_home, value) for value in flag.value]


def _home(match: re.Match[str]) -> str:
    return os.path.expanduser(match[0])


def _raise_interrupted(number: int, frame: object) -> None:
    """Handles SIGTERM like Ctrl-C, so that unfinished files are removed."""
    raise Interrupted("terminated", number)


def _report_error(error: BaseException) -> int:
    """Prints an error as one line; returns the exit status."""
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted("interrupted", signal.SIGINT)
    if isinstance(error, Interrupted):
        print(f"\n{error}", file=sys.stderr)
        return error.status
    if isinstance(error, BrokenPipeError):  # nobody reads a message
        return PIPE_STATUS
    if isinstance(error, InputError):
        return fail(str(error))
    return fail(f"{error.filename or 'a file or standard output'}: {error.strerror or error}")


def fail(message: str) -> int:
    """Prints an error message as one line on standard error; returns the exit status, 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _release_frames(error: BaseException | None) -> None:
    """Releases the objects that the frames of an error and of its causes refer to.

    The threads of a tf.data iterator call Python, which they cannot do while the interpreter shuts
    down: if one were still alive then, TensorFlow would wait for it forever.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()
