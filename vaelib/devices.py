"""Choose where to compute."""

from typing import get_args

import torch

from vaelib.errors import DeviceError
from vaelib.settings import DeviceName


def pick_device(name: str = "auto") -> torch.device:
    """Turn a name into a device that this machine has.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "mps"}
        ``auto`` takes a CUDA GPU if there is one, else Apple's, else the CPU.

    Raises
    ------
    DeviceError
        If the name is unknown or the machine has no such device.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    available = [device for device, present in has.items() if present]
    if name == "auto":
        return torch.device(available[0])
    if name not in get_args(DeviceName):
        raise DeviceError(f"unknown device {name!r}: choose one of {', '.join(get_args(DeviceName))}")
    if name not in available:
        raise DeviceError(f"this machine has no {name!r} device: choose one of auto, {', '.join(available)}")
    return torch.device(name)
