"""The device that networks of a backend want their arrays on."""

from __future__ import annotations

from tgvc.devices.base import HOST, Device
from tgvc.devices.host import HostDevice


def find_device(name: str) -> Device:
    """The device of a name.

    Args:
        name: ``cpu`` or ``cuda:0``, as `tgvc.backends.base.Backend.device` says it.

    Raises:
        BackendUnavailableError: a GPU that is not there, or something that is missing for one.
    """
    if name == HOST:
        return HostDevice()
    from tgvc.devices.cuda import CudaDevice  # what only a GPU needs is imported where there is one

    return CudaDevice(int(name.partition(":")[2] or 0))
