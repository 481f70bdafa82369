"""Count of the bytes that a client has not received yet."""

import asyncio
import sys
from fcntl import ioctl
from termios import TIOCOUTQ


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Count the bytes that the peer has not acknowledged, in asyncio's buffer and in the kernel's."""
    here = transport.get_write_buffer_size()
    try:
        queued = ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
    except (OSError, AttributeError):  # the socket is closed, or the kernel has no count for this kind of socket
        return here
    return here + int.from_bytes(queued, sys.byteorder)
