"""How the command line programs start and fail."""

import signal
import sys
from collections.abc import Callable, Sequence

from absl import app, logging

from tfinvert.card import peak_memory
from tfinvert.errors import InputError, Interrupted


def run(main: Callable[..., None], arguments: bool = False) -> None:
    """Parses the flags and runs `main`.

    Wrong flags and wrong input end with one line on standard error and exit status 1 or 2; a
    run that is told to stop ends with status 130 (Ctrl-C) or 143 (SIGTERM).

    Args:
      main: the program.
      arguments: whether it takes the list of what follows the flags; else nothing may follow.
    """

    def guarded(argv: Sequence[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        signal.signal(signal.SIGTERM, _terminated)
        if len(argv) > 1 and not arguments:
            _fail(f"unexpected argument {argv[1]!r}; every input is a --flag")
        try:
            main(list(argv[1:])) if arguments else main()
            print(f"peak memory: {peak_memory():.2f} GB")
        except InputError as error:
            _fail(str(error))
        except OSError as error:
            _fail(f"{error.filename or 'file'}: {error.strerror or error}")
        except Interrupted as stop:
            print(f"\n{stop}", file=sys.stderr)
            sys.exit(stop.status)
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            sys.exit(130)

    app.run(guarded)


def _terminated(number: int, frame: object) -> None:
    """So that what is being written is cleared away, as after Ctrl-C."""
    raise Interrupted("terminated", number)


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
