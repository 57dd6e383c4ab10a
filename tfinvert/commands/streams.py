"""The standard streams of the programs: other encodings, closed pipes, full disks."""

import codecs
import contextlib
import io
import os
import signal
import sys
import unicodedata
from collections.abc import Iterator

PIPE_STATUS = 128 + signal.SIGPIPE  # which shells report for a process that the signal ended
_REPLACE = "tfinvert.replace"
# Signs that have no decomposition into ASCII.
_SIGNS = {
    "×": "x",
    "→": "->",
    "–": "-",
    "—": "-",
    "−": "-",
    "±": "+-",
    "·": "*",
    "‖": "||",
    "“": '"',
    "”": '"',
    "’": "'",
}


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Lets a block write to the standard streams, whatever they are.

    A character that a stream cannot encode becomes a similar one of ASCII or, if there is none, an
    escape sequence. A stream that is closed reads and writes nothing. If a pipe is closed, the
    program ends silently with the status `PIPE_STATUS`. If output cannot be written for another
    reason, it ends with one line on standard error and status 2.
    """
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_REPLACE)
    try:
        try:
            yield
        finally:  # rather than while the interpreter shuts down, which reports errors otherwise
            sys.stdout.flush()
            sys.stderr.flush()
    except OSError as error:
        broken = isinstance(error, BrokenPipeError)
        status = getattr(error.__context__, "code", 0)  # of an error that has been reported
        if not (broken or status):
            with contextlib.suppress(OSError):
                print(f"error: standard output: {error.strerror}", file=sys.stderr)
        _discard_output()
        sys.exit(PIPE_STATUS if broken else status or 2)


def _open_missing_streams() -> None:
    """Opens the null device in place of closed streams.

    Otherwise the next file that is opened would get the number of the stream, and messages.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _discard_output() -> None:
    """Connects the streams that cannot be written to the null device."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _to_ascii(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _SIGNS.get(character, character))
    similar = "".join(x for x in decomposed if not unicodedata.combining(x))
    if similar.isascii():
        return similar
    return character.encode("ascii", "backslashreplace").decode("ascii")


def _replace(error: UnicodeEncodeError) -> tuple[str, int]:
    return "".join(map(_to_ascii, error.object[error.start : error.end])), error.end


codecs.register_error(_REPLACE, _replace)
