"""Some open files are reserved from clients, and our own shortages are distinguished from faults of others."""

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.system.kernel_limits import client_connections, files_for, ran_out
from tests.services.files import no_files


@given(st.integers(1, 10**6))
def test_so_many_files_as_are_asked_for_let_in_so_many_clients(connections):
    assert client_connections(files_for(connections)) >= connections
    assert client_connections(files_for(connections) - 1) <= connections


@given(st.integers(0, 10**6))
def test_clients_never_have_all_files(files):
    assert 1 <= client_connections(files) <= max(1, files - 48)


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EADDRNOTAVAIL"])
def test_what_we_lack_is_no_fault_of_whom_we_call(name):
    assert ran_out(OSError(getattr(errno, name), name))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ECONNREFUSED, "refused"),
        OSError(errno.ECONNRESET, "reset"),
        OSError(errno.EHOSTUNREACH, "no route"),
        TimeoutError("no answer"),
        OSError("Multiple exceptions"),
        socket.gaierror(socket.EAI_NONAME, "no such name"),
    ],
)
def test_what_others_do_is_no_shortage(error):
    assert not ran_out(error)


def test_a_name_that_is_not_found_without_a_file_left_says_nothing():
    error = socket.gaierror(socket.EAI_NONAME, "no such name")
    with no_files():
        found = ran_out(error)
    assert found
