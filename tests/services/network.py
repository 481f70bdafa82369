"""A network namespace without a way out, which records every packet that would leave the machine.

Its hosts file is empty, so that even a look-up of ``localhost`` sends a packet.
"""

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RESOLVER = "198.51.100.53"
_PREPARE = """
set -e
mount -t tmpfs none /run  # hides sockets of services that would send packets for us: nscd, systemd-resolved, a daemon
for name in resolv.conf hosts nsswitch.conf; do
    file=$(readlink -m /etc/$name)
    mkdir -p "${file%/*}"
    [ -e "$file" ] || : > "$file"
    mount --bind "$1/$name" "$file"
done
ip link set lo up
ip link add out type veth peer name seen
ip link set dev out addrgenmode none
ip link set dev seen addrgenmode none
ip link set dev out arp off up
ip link set dev seen arp off up
ip address add 192.0.2.1/24 dev out
ip -6 address add 2001:db8::1/64 dev out nodad
ip route add default dev out
ip -6 route add default dev out
"""
_FILES = {
    "resolv.conf": f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n",
    "hosts": "",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_ALL = 3  # ETH_P_ALL
_KERNEL = {2, 58}  # IGMP and ICMPv6: the kernel's own messages about groups and neighbours


class Network:
    """A network namespace, which exists while its holder process lives."""

    def __init__(self, holder: "subprocess.Popen[str]", *, user: bool) -> None:
        self._holder = holder
        self._user = ("--user", "--preserve-credentials") if user else ()

    def inside(self, folder: Path, *command: str) -> list[str]:
        """A command line that runs another one in the namespace, in a folder."""
        enter = ("nsenter", "--target", str(self._holder.pid), *self._user, "--net", "--mount")
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command]

    def sent(self) -> list[str]:
        """Descriptions of the packets so far, each once."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write("\n")
        self._holder.stdin.flush()
        return list(json.loads(self._holder.stdout.readline()))


def why_not() -> str:
    """Reason why no namespace can be made here; empty if one can."""
    missing = [name for name in ("unshare", "nsenter", "ip", "mount") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install util-linux iproute2)"
    done = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)
    return f"a network namespace cannot be made: {done.stderr.strip()}" if done.returncode else ""


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """Make a namespace for the block.

    Args:
        folder: Folder for its files.
    """
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    holder = subprocess.Popen(
        [*_unshare(), sys.executable, "-P", __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert json.loads(holder.stdout.readline() or "null") == [], "the namespace cannot be prepared"
        yield Network(holder, user=os.getuid() != 0)
        holder.stdin.close()


def _unshare() -> list[str]:
    return ["unshare", "--net", "--mount", *(() if os.getuid() == 0 else ("--map-root-user",))]


def hold(folder: str) -> None:
    """Record packets and print them for each line read from stdin, until its end."""
    subprocess.run(["sh", "-c", _PREPARE, "sh", folder], check=True, stdout=sys.stderr)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
    sock.bind(("seen", _ALL))
    sock.setblocking(False)
    seen: dict[str, None] = {}
    print("[]", flush=True)
    while True:
        ready, _, _ = select.select([sock, sys.stdin], [], [])
        seen |= dict.fromkeys(_arrived(sock))
        if sys.stdin in ready:
            if not sys.stdin.readline():
                return
            print(json.dumps(list(seen)), flush=True)


def _arrived(sock: socket.socket) -> Iterator[str]:
    while True:
        try:
            packet = sock.recv(65_535)
        except BlockingIOError:
            return
        if words := describe(packet):
            yield words


def describe(packet: bytes) -> str:
    """Destination of a packet and the name it asks for; empty for packets that the kernel sends by itself."""
    if packet[0] >> 4 == 4:
        protocol, start = packet[9], (packet[0] & 15) * 4
        address = socket.inet_ntop(socket.AF_INET, packet[16:20])
    else:
        protocol, start = packet[6], 40
        if protocol == 0:  # options come first: a report of groups
            protocol = packet[start]
        address = f"[{socket.inet_ntop(socket.AF_INET6, packet[24:40])}]"
    if protocol in _KERNEL:
        return ""
    kind = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}.get(protocol, f"protocol {protocol}")
    (port,) = struct.unpack_from("!H", packet, start + 2)
    asks = f" asks for {_name(packet[start + 20 :])}" if (kind, port) == ("udp", 53) else ""
    return f"{kind} to {address}:{port}{asks}"


def _name(question: bytes) -> str:
    """The name in a DNS question: labels, each after its length."""
    labels = []
    while question and question[0]:
        labels.append(question[1 : 1 + question[0]].decode("ascii", "replace"))
        question = question[1 + question[0] :]
    return ".".join(labels)


if __name__ == "__main__":
    hold(sys.argv[1])
