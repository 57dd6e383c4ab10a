"""Being told to stop: the signals that end a run after the step it is at."""

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """What was asked.

    Attributes:
      signal: that arrived; 0 while none has.
    """

    signal = 0


@contextlib.contextmanager
def listening() -> Iterator[Stopping]:
    """In the block, the first SIGTERM or Ctrl-C is noted only; the next does what it did before.

    Signals reach the main thread alone: in another one nothing changes.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: object) -> None:
        stopping.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
