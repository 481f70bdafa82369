"""Some open files are reserved from clients, and our own shortages are distinguished from faults of others."""

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.system.kernel_limits import client_connections, files_for, ran_out
from tests.services.files import no_files


@given(st.integers(1, 10**6))
def test_the_computed_number_of_files_suffices_for_the_clients(connections):
    assert client_connections(files_for(connections)) >= connections
    assert client_connections(files_for(connections) - 1) <= connections


@given(st.integers(0, 10**6))
def test_clients_never_have_all_files(files):
    assert 1 <= client_connections(files) <= max(1, files - 48)


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EADDRNOTAVAIL"])
def test_our_own_shortages_are_recognised(name):
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
def test_faults_of_others_are_not_shortages(error):
    assert not ran_out(error)


def test_a_name_that_is_not_found_without_free_files_counts_as_a_shortage():
    error = socket.gaierror(socket.EAI_NONAME, "no such name")
    with no_files():
        found = ran_out(error)
    assert found
