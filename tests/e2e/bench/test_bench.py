"""The benchmarks run and report the promised figures; the values are not checked here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedfleet.engine.onnx.cpu_features import has_int8, read_cpu_flags

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the benchmarks pin two cores"),
]
ROOT = str(Path(__file__).parents[3])


def last_line(*command: str) -> dict:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("wrk")), reason="nginx and wrk are not installed")
def test_the_gateways_benchmark_prints_its_ratio():
    result = last_line("bench.gateway", "--quick", "--rounds", "1")
    assert result["ratios"]["cpu_over_nginx"] > 0
    assert (result["cpu_over_haproxy"] is None) == (shutil.which("haproxy") is None)
    assert {"gateway", "nginx"} <= set(result["idle_1000_kb"])
    assert result["machine"]["cores"] >= 2


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("wrk")), reason="nginx and wrk are not installed")
def test_the_benchmark_of_the_cache_prints_what_a_hit_costs_and_what_hits_save():
    ratios = last_line("bench.cache", "--quick")["ratios"]
    assert ratios["hit_over_forwarded_apart"] > 0
    assert ratios["cached_rate_over_alone"] > 1


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("wrk")), reason="nginx and wrk are not installed")
def test_the_benchmark_of_members_prints_what_more_of_them_cost():
    result = last_line("bench.members", "--rounds", "1")
    assert set(result["cpu_us"]) == {"2", "64", "1024"}
    assert min(result["ratios"].values()) > 0


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("wrk")), reason="nginx and wrk are not installed")
def test_the_gateways_benchmark_holds_two_versions_against_each_other():
    result = last_line("bench.gateway", "--before", ROOT, "--quick", "--only", "gateway")
    assert set(result["figures"]) == {"gateway_us", "gateway_alone_us", "gateway_alone_p50_us"}
    assert all(ratio > 0 for ratio in result["ratios"].values())
    assert all(figure["rounds"] == 1 for figure in result["figures"].values())


def test_the_engines_benchmark_holds_two_versions_against_each_other():
    result = last_line("bench.engine", "--before", ROOT, "--quick", "--cells", "1x1", "--over-http")
    assert set(result["figures"]) == {"load_s", "1x1_us_per_token", "1x1_cpu_us_per_token"}
    assert all(ratio > 0 for ratio in result["ratios"].values())


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_the_benchmark_of_what_is_not_the_model_holds_two_versions_against_each_other():
    result = last_line("bench.engine.overhead", "--before", ROOT, "--quick")
    assert set(result["figures"]) == {"64_cpu_us", "1_cpu_us", "1_p50_us"}
    assert all(ratio > 0 for ratio in result["ratios"].values())


def test_the_ports_benchmark_counts_who_is_refused_and_who_loses_an_answer():
    runs = last_line("bench.port", "--rate", "20", "--kills", "1", "--reloads", "1", "--every-s", "2")["runs"]
    for seen in runs.values():
        assert (seen["refused"], seen["failed"], seen["blows"]) == (0, 0, 1)
        assert seen["answered"] > 0
    assert runs["reloads"]["lost"] == 0
    assert runs["kills"]["lost"] <= runs["kills"]["on_the_way"]


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    command = [sys.executable, "-m", "bench.engine", "--before", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path} is not a checkout of this project" in done.stderr


def test_the_engines_benchmark_prints_its_ratios_and_null_for_a_rival_that_is_not_there():
    result = last_line("bench.engine", "--quick")
    assert result["ratios"]["over_plain_ort"] > 0
    assert result["ratios"]["over_infinity"] is None
    assert set(result["over_padded"]) == {"1x1", "16x1", "4x32"}
    assert result["ratios"]["load_over_imports"] > 0
    assert set(result["over_plain_ort"]) == {"1x1", "16x1", "4x32"}


@pytest.mark.skipif(not has_int8(read_cpu_flags()), reason="the processor has neither VNNI nor AMX")
def test_the_benchmark_of_int8_prints_its_speed_and_its_error():
    result = last_line("bench.engine.int8", "--seconds", "0.1", "--rounds", "1")
    assert set(result["ratios"]) == {"int8_over_float32_minilm", "int8_over_float32_wide_128"}
    assert 0 < result["error"]["mean"] < result["error"]["worst"] < 0.05
    assert 0.5 < result["error"]["same_nearest"] <= 1


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed: apt-get install nginx-light")
def test_under_mixed_traffic_every_vector_is_right_and_no_request_is_lost():
    result = last_line("bench.mixed", "--quick", "--warm-up", "2", "--seconds", "6")
    assert set(result["ratios"]) == {
        "online_p99_nginx_over_ours",
        "online_p99_haproxy_over_ours",
        "online_p99_cutting_clients_over_ours",
        "bulk_p99_ours_over_least_conn",
        "computed_at_120_ours_over_best",
    }
    assert result["ratios"]["online_p99_haproxy_over_ours"] is None
    assert result["counts"]["sent"] > 0
    assert (result["counts"]["wrong"], result["counts"]["out_of_order"], result["lost"]) == (0, 0, 0)
    assert set(result["cells"]["mix 85 %"]) == {"nginx-lc", "ours"}
    assert [(row["contestant"], row["bulk_p50_ms"] > 0) for row in result["agreement"]] == [
        ("nginx-lc", True),
        ("ours", True),
    ]


def test_a_killed_replica_is_told_in_the_table_of_faults():
    result = last_line("bench.mixed", "--faults", "--only", "kill")
    (row,) = result["faults"]
    assert (row["fault"], row["contestant"]) == ("kill", "ours")
    assert row["sent"] > 0
    assert (row["wrong"], row["out_of_order"]) == (0, 0)


def test_the_bench_of_poisonous_requests_tells_second_by_second_what_it_saw():
    result = last_line("bench.poison", "--quick")
    (run,) = result["runs"].values()
    assert [row["second"] for row in run["series"]] == [0, 1, 2]
    assert run["verified"] == 150
    assert run["deaths"] >= 2  # of either body one at least
    assert run["series"][0]["pss_mb"] > 0
    assert run["series"][0]["lag_ms"] > 0
    assert sum(run["poisonous"].values()) > 0
