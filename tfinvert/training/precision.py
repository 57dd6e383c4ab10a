"""Hardware support for the `--precision` values, the compute precisions of training.

In every precision the weights, their moving average, the standardisation, the loss and the output
layer are float32.
"""

import pathlib

from tfinvert.common.backend import BACKEND
from tfinvert.errors import InputError

_BFLOAT16_CAPABILITY = (8, 0)  # of NVIDIA GPUs since Ampere
CPU_INFO = pathlib.Path("/proc/cpuinfo")


def check_precision(precision: str) -> None:
    """Checks that the devices support a precision; prints a line if it would be slow.

    Raises:
      InputError: they do not.
    """
    if precision == "float32":
        return
    gpus = _gpu_capabilities()
    if precision == "float16" and not gpus:
        raise InputError(
            "--precision=float16 requires a GPU; use --precision=float32 or bfloat16 on a CPU. "
            "Received: no GPU"
        )
    if precision != "bfloat16":
        return
    for name, capability in gpus:
        if capability < _BFLOAT16_CAPABILITY:
            raise InputError(
                "--precision=bfloat16 requires a GPU of compute capability 8.0 or higher; use "
                f"float32 or float16. Received: {name} of compute capability "
                f"{'.'.join(map(str, capability))}"
            )
    if not gpus and not _cpu_supports_bfloat16():
        print("this CPU has no bfloat16 instructions; --precision=float32 is probably faster")


def _gpu_capabilities() -> list[tuple[str, tuple[int, ...]]]:
    """Returns name and compute capability of each GPU."""
    if BACKEND == "jax":
        import jax

        gpus = [device for device in jax.devices() if device.platform == "gpu"]
        return [(x.device_kind, tuple(map(int, x.compute_capability.split(".")))) for x in gpus]
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [
        (x.get("device_name", "a GPU"), x.get("compute_capability", _BFLOAT16_CAPABILITY))
        for x in details
    ]


def _cpu_supports_bfloat16() -> bool:
    """Reads the CPU's flags on Linux; assumes support elsewhere."""
    try:
        flags = CPU_INFO.read_text(encoding="utf-8").split()
    except OSError:
        return True
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))
