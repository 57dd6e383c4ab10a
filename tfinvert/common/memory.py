"""Memory use of the current process."""

import resource
import sys


def peak_memory() -> float:
    """Returns the peak resident memory of this process so far, in GB (10⁹ bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
