"""A half-open connection: packets to one socket are dropped, and nobody is told."""

import ctypes
import socket
import struct
import sys

import pytest

_SO_ATTACH_FILTER = 26  # Linux, as the following
_RETURN = 0x06  # BPF_RET | BPF_K: of a packet, keep that many bytes

needs_packet_filter = pytest.mark.skipif(
    sys.platform != "linux", reason="dropping a socket's packets takes a Linux socket filter"
)


def drop_packets(sock: socket.socket) -> None:
    """From here on the system drops every packet to this socket, before TCP sees it.

    So nothing is acknowledged, answered or reset, as when a cable is pulled or a phone leaves
    the network. No privileges are needed. What was received before can still be read.
    """
    keep_nothing = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(keep_nothing))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
