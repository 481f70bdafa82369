"""What a client has not taken of what it was sent."""

import asyncio
import sys
from fcntl import ioctl
from termios import TIOCOUTQ


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes that its side has not acknowledged: those that wait here, and those in the kernel."""
    here = transport.get_write_buffer_size()
    try:
        queued = ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
    except (OSError, AttributeError):  # closed by now, or of a kind that the system does not count for
        return here
    return here + int.from_bytes(queued, sys.byteorder)
