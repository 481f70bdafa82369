"""Our image in a container with limits reports them."""

import json
import os

from tests.services.docker.images import OWN


def test_a_container_with_limits_reports_their_cores_and_memory(site):
    container = site.client.containers.create(
        OWN, ["doctor", "--json"], nano_cpus=600_000_000, mem_limit=700_000_000, network_mode="none"
    )
    container.start()
    container.wait()
    said = container.logs(stderr=False)
    container.remove()
    checks = {check["id"]: check["message"] for check in json.loads(said)["checks"]}
    assert checks["cores"].startswith(f"1 of {os.cpu_count()} cores")
    assert len(os.sched_getaffinity(0)) == 1 or checks["cores"].endswith("allows 0.6")
    assert "of 0.70 GB are left: memory." in checks["memory"]
