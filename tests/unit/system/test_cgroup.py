"""Cores and memory by the limits of control groups, in both versions, nested, and seen from containers."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.system.cgroup import cores, cpu_quota, memories, memory_left, memory_limit

GB = 1 << 30
UNLIMITED = "9223372036854771712"  # version 1's number for no limit
TWO = "32 23 0:29 {top} {point} rw,nosuid shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate\n"
ONE = "33 23 0:30 {top} {point} rw,relatime - cgroup cgroup rw,{names}\n"


def machine(root: Path, groups: str, mounts: str) -> Path:
    """A root folder with the groups of a process, and the mounts."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text("23 1 8:1 / / rw - ext4 /dev/root rw\n" + mounts)
    return root


def put(root: Path, folder: str, **files: str | int) -> None:
    """Write the files of one group; ``__`` in a name stands for a full stop."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(f"{text}\n", "utf-8", "surrogatepass")


def version_2(root: Path, group: str, top: str = "/", point: str = "/sys/fs/cgroup") -> Path:
    return machine(root, f"0::{group}\n", TWO.format(top=top, point=point))


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("max 100000", None),
        ("200000 100000", 2.0),
        ("50000 100000", 0.5),
        ("150000 100000", 1.5),
        ("10000 5000", 2.0),
        ("", None),
        ("max", None),
        ("100000 0", None),
    ],
)
def test_a_quota_of_version_2(tmp_path, text, quota):
    put(version_2(tmp_path, "/a"), "sys/fs/cgroup/a", cpu__max=text)
    found = cpu_quota(tmp_path)
    assert (found and found.cores) == quota
    assert found is None or found.source == "cpu.max of /sys/fs/cgroup/a"


@pytest.mark.parametrize("tight", ["", "/pod", "/pod/inner"])
def test_the_tightest_of_the_own_group_and_those_over_it_holds(tmp_path, tight):
    version_2(tmp_path, "/pod/inner")
    for group in ("", "/pod", "/pod/inner"):
        text = "100000 100000" if group == tight else "300000 100000"
        put(tmp_path, f"sys/fs/cgroup{group}", cpu__max=text)
    put(tmp_path, "sys/fs/cgroup/other", cpu__max="1000 100000")
    found = cpu_quota(tmp_path)
    assert found is not None
    assert (found.cores, found.source) == (1.0, f"cpu.max of /sys/fs/cgroup{tight}")


@pytest.mark.parametrize(("quota", "period", "expected"), [("-1", "100000", None), ("250000", "100000", 2.5)])
def test_a_quota_of_version_1(tmp_path, quota, period, expected):
    mounts = ONE.format(top="/", point="/sys/fs/cgroup/cpu,cpuacct", names="cpu,cpuacct")
    machine(tmp_path, "4:memory:/x\n3:cpu,cpuacct:/user/me\n1:name=systemd:/user\n", mounts)
    folder = "sys/fs/cgroup/cpu,cpuacct/user/me"
    put(tmp_path, folder, cpu__cfs_quota_us=quota, cpu__cfs_period_us=period)
    found = cpu_quota(tmp_path)
    assert (found and found.cores) == expected


def test_on_a_hybrid_system_each_controller_is_found_in_its_version(tmp_path):
    """Memory in version 1, processors in version 2, as with cgroup_no_v1=cpu."""
    mounts = ONE.format(top="/", point="/sys/fs/cgroup/memory", names="memory")
    mounts += TWO.format(top="/", point="/sys/fs/cgroup/unified")
    machine(tmp_path, "4:memory:/a\n0::/b\n", mounts)
    put(tmp_path, "sys/fs/cgroup/memory/a", memory__limit_in_bytes=3 * GB, memory__usage_in_bytes=GB)
    put(tmp_path, "sys/fs/cgroup/unified/b", cpu__max="100000 100000")
    found = cpu_quota(tmp_path)
    assert found is not None
    assert found.cores == 1.0
    assert memory_left(tmp_path) == 2 * GB


def test_a_container_with_a_namespace_of_its_own(tmp_path):
    put(version_2(tmp_path, "/"), "sys/fs/cgroup", cpu__max="100000 100000", memory__max=GB, memory__current=0)
    assert cpu_quota(tmp_path) is not None
    assert memory_left(tmp_path) == GB


@pytest.mark.parametrize("top", ["/docker/4f", "/"])
def test_a_container_that_knows_its_group_by_the_host_s_name(tmp_path, top):
    """Docker with version 1 mounts the group itself; with some runtimes, mountinfo does not show that."""
    mounts = ONE.format(top=top, point="/sys/fs/cgroup/cpu", names="cpu")
    machine(tmp_path, "3:cpu:/docker/4f\n", mounts)
    put(tmp_path, "sys/fs/cgroup/cpu", cpu__cfs_quota_us=100000, cpu__cfs_period_us=100000)
    assert cpu_quota(tmp_path) is not None


def test_a_group_outside_of_the_visible_ones_is_not_confused_with_them(tmp_path):
    """After a process entered a container's namespaces from outside, the container's limit is not its own."""
    put(version_2(tmp_path, "/../../user.slice"), "sys/fs/cgroup", cpu__max="100000 100000")
    assert cpu_quota(tmp_path) is None


def test_a_mount_over_another_and_a_point_with_a_blank(tmp_path):
    mounts = TWO.format(top="/hidden", point="/sys/fs/cgroup") + TWO.format(top="/", point="/mnt/my\\040groups")
    machine(tmp_path, "0::/a:b c\n", mounts)
    put(tmp_path, "mnt/my groups/a:b c", cpu__max="100000 100000")
    put(tmp_path, "sys/fs/cgroup", cpu__max="1000 100000")
    found = cpu_quota(tmp_path)
    assert found is not None
    assert found.source == "cpu.max of /mnt/my groups/a:b c"


@given(st.text(), st.text(), st.text())
def test_files_with_other_content_set_no_limit(groups, mounts, limits):
    with tempfile.TemporaryDirectory() as name:
        root = machine(Path(name), f"{groups}\n0::/\n", f"{mounts}\n{TWO.format(top='/', point='/sys/fs/cgroup')}")
        put(root, "sys/fs/cgroup", cpu__max=limits, memory__max=limits, memory__current=limits, memory__stat=limits)
        assert cores(root) >= 1
        assert (memory_left(root) or 0) >= 0


def test_without_groups_there_is_no_limit(tmp_path):
    machine(tmp_path, "", "")
    assert (cpu_quota(tmp_path), memory_left(tmp_path)) == (None, None)
    assert (cpu_quota(tmp_path / "nowhere"), memories(tmp_path / "nowhere")) == (None, [])


@pytest.mark.parametrize(("text", "expected"), [("50000 100000", 1), ("100001 100000", 2), ("9900000 100000", 99)])
def test_cores_are_the_quota_rounded_up_and_no_more_than_may_be_run_on(tmp_path, text, expected):
    put(version_2(tmp_path, "/"), "sys/fs/cgroup", cpu__max=text)
    assert cores(tmp_path) == min(expected, len(os.sched_getaffinity(0)))


def test_memory_left_counts_what_can_be_dropped(tmp_path):
    stat = f"anon {GB}\nfile {3 * GB}\ninactive_file {2 * GB}\nactive_file {GB}\nfile_mapped {GB}"
    put(version_2(tmp_path, "/a"), "sys/fs/cgroup/a", memory__max=5 * GB, memory__current=4 * GB, memory__stat=stat)
    assert memory_left(tmp_path) == 3 * GB


def test_memory_of_version_1_is_that_of_the_groups_within_too(tmp_path):
    mounts = ONE.format(top="/", point="/sys/fs/cgroup/memory", names="memory")
    machine(tmp_path, "4:memory:/a\n", mounts)
    stat = f"inactive_file 0\nmapped_file 0\ntotal_inactive_file {GB}\ntotal_active_file {GB}\ntotal_mapped_file 0"
    usage = {"memory__usage_in_bytes": 3 * GB, "memory__stat": stat}
    put(tmp_path, "sys/fs/cgroup/memory/a", memory__limit_in_bytes=UNLIMITED, **usage)
    assert memory_left(tmp_path) is None
    put(tmp_path, "sys/fs/cgroup/memory", memory__limit_in_bytes=4 * GB, **usage)
    assert memory_left(tmp_path) == 3 * GB


def test_the_smallest_left_over_all_groups_counts_not_the_smallest_limit(tmp_path):
    version_2(tmp_path, "/a")
    put(tmp_path, "sys/fs/cgroup/a", memory__max=2 * GB, memory__current=0)
    put(tmp_path, "sys/fs/cgroup", memory__max=8 * GB, memory__current=7 * GB)
    assert memory_left(tmp_path) == GB


def test_the_mark_over_which_the_kernel_slows_a_group_down_is_a_limit(tmp_path):
    put(version_2(tmp_path, "/a"), "sys/fs/cgroup/a", memory__max="max", memory__high=GB, memory__current=0)
    assert memory_left(tmp_path) == GB


def test_more_used_than_allowed_leaves_nothing(tmp_path):
    put(version_2(tmp_path, "/a"), "sys/fs/cgroup/a", memory__max=GB, memory__current=2 * GB)
    assert memory_left(tmp_path) == 0


def test_the_smallest_limit_is_the_most_that_can_be_had(tmp_path):
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    put(version_2(tmp_path, "/a"), "sys/fs/cgroup/a", memory__max="max", memory__current=0)
    assert memory_limit(tmp_path) == machine_bytes
    put(tmp_path, "sys/fs/cgroup", memory__max=GB, memory__current=0)
    assert memory_limit(tmp_path) == GB
    put(tmp_path, "sys/fs/cgroup", memory__max=2 * machine_bytes, memory__current=0)
    assert memory_limit(tmp_path) == machine_bytes
