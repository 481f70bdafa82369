"""Every contestant has a configuration that its own program accepts, and has its replicas in it."""

import subprocess

import pytest

from bench.contestants import CONTESTANTS, CUT, Site, find


@pytest.fixture
def site(tmp_path):
    return Site(port=18080, replicas=(18081, 18082, 18083), folder=tmp_path)


@pytest.mark.parametrize("name", CONTESTANTS)
def test_its_program_accepts_its_configuration(name, site):
    contestant = CONTESTANTS[name]
    if not contestant.check(site):
        pytest.skip("it has no file")
    if not contestant.installed:
        pytest.skip(f"{contestant.program} is not installed: {contestant.package}")
    site.config.write_text(contestant.config(site))
    done = subprocess.run(contestant.check(site), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()


@pytest.mark.parametrize("name", CONTESTANTS)
def test_it_is_told_of_every_replica_and_of_its_port(name, site):
    contestant = CONTESTANTS[name]
    told = contestant.config(site) + " ".join(contestant.command(site))
    for port in (site.port, *site.replicas):
        assert str(port) in told


def test_clients_that_cut_stand_before_any_contestant():
    assert find("nginx-lc" + CUT) == (CONTESTANTS["nginx-lc"], 32)
    assert find("nginx-lc") == (CONTESTANTS["nginx-lc"], 0)


def test_an_unknown_contestant_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"'envoy' is none of nginx-script, .*ours"):
        find("envoy")
