"""Cores are shared evenly: every replica has a thread, and threads exceed cores only if replicas do."""

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.plan.replica_placement import replica_count, worker_threads

replicas = st.integers(1, 64)
cores = st.integers(1, 512)


@given(replicas, cores)
def test_every_replica_has_a_thread_and_together_they_have_no_more_than_the_cores(replicas, cores):
    threads = worker_threads("auto", replicas=replicas, cores=cores)
    assert threads >= 1
    assert threads * replicas <= max(cores, replicas)


@given(replicas, cores)
def test_no_core_that_could_be_given_to_each_replica_is_left_over(replicas, cores):
    threads = worker_threads("auto", replicas=replicas, cores=cores)
    assert (threads + 1) * replicas > cores


@given(st.integers(1, 1024), replicas, cores)
def test_a_given_number_is_used_unchanged(wanted, replicas, cores):
    assert worker_threads(wanted, replicas=replicas, cores=cores) == wanted
    assert replica_count(wanted) == wanted


def test_a_service_has_two_replicas_by_default():
    assert replica_count("auto") == 2
