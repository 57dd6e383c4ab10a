"""`--precision` values: what a network computes in while it trains.

Weights, their average, standardisation, loss and the layer that gives the image or the logits are
float32 whatever the precision.
"""

import pathlib

import tensorflow as tf

from tfinvert.errors import InputError

_BFLOAT16_CAPABILITY = (8, 0)  # of NVIDIA GPUs: Ampere


def check_precision(precision: str) -> None:
    """Whether the devices here can train in that precision; prints a line where it does not pay.

    Raises:
      InputError: they cannot.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if precision == "float16" and not gpus:
        raise InputError(
            "precision float16 takes a GPU, and there is none; a CPU takes float32 or bfloat16"
        )
    if precision != "bfloat16":
        return
    for gpu in gpus:
        found = tf.config.experimental.get_device_details(gpu)
        capability = found.get("compute_capability", _BFLOAT16_CAPABILITY)
        if capability < _BFLOAT16_CAPABILITY:
            raise InputError(
                f"precision bfloat16 takes a GPU of compute capability 8.0; "
                f"{found.get('device_name', 'this one')} has {'.'.join(map(str, capability))} and "
                "takes float32 or float16"
            )
    if not gpus and not _cpu_has_bfloat16():
        print("this CPU has no bfloat16 instructions: float32 is likely faster")


def _cpu_has_bfloat16() -> bool:
    """As Linux tells; taken for granted elsewhere."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return True
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))
