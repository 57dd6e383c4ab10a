"""What a process needs of memory."""

import resource
import sys


def peak_memory() -> float:
    """The most memory this process has held so far, in GB (10⁹ bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
