"""The exception that means "the user's input is wrong", and what is said of others' errors."""


class InputError(ValueError):
    """Wrong input: one line that says what was given and what is accepted.

    The command line programs print it and end with exit status 2; in Python it is a ValueError.
    """


class Interrupted(BaseException):
    """A run was told to stop, and has saved where it is.

    The command line programs print the line and end with the status that shells give a process
    which a signal ended. Like KeyboardInterrupt it is no Exception, so that nothing that catches
    those takes it for a failure of something else.

    Args:
      message: one line, with where it stands and how it goes on.
      signal: the number of the signal.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.status = 128 + signal


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or, if it says nothing, what it is."""
    return (str(error).strip().splitlines() or [repr(error)])[0]
