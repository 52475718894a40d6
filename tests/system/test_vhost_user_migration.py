"""A real VM on a vhost-user port moves, live, from one host to another and back.

Two hosts, each with a vmqd of its own, hang on one bridge, where somebody lives who talks to the
VM. What must stay true: it is the same guest on the other side; a TCP transfer across the move
arrives intact, what vmqd had written into the guest's memory and nobody had read yet included; the
bridge learns where the guest is now without waiting for it to speak; and both ports are as they
were before, without a fault.
"""

import hashlib
import json
import os
import socket
import threading

import pytest

from tests.lab import frames
from tests.lab.endpoints import wait_until
from tests.lab.guest import Vhost
from tests.lab.namespaces import make_veth
from tests.lab.transfer import PORT, accepting, exchange, ping

PEER, GUEST = "10.0.0.254", "10.0.0.1"
MAC = frames.vm_mac(1)
ARP, RARP = 0x0806, 0x8035
BANDWIDTH = 8 << 20  # bytes a second: the memory takes seconds, and the guest goes on writing to it
UNREAD = 128 << 10
AFTERWARDS = 2 << 20
PATIENCE = 240

# nc, with a reader so slow that the socket always holds what vmqd wrote and no CPU has touched:
# only the dirty log takes that along. The checksum is there when the connection has ended.
SLOW_READER = f"""(nc {PEER} {PORT} </dev/null | while true; do
dd bs=64k count=1 of=/tmp/part 2>/dev/null; [ -s /tmp/part ] || break; cat /tmp/part; usleep 20000;
done | sha256sum >/tmp/sum; mv /tmp/sum /tmp/whole) &""".replace("\n", " ")


pytestmark = pytest.mark.usefixtures("guest_files")


def listen(lab, bridge, ether_type):
    """A socket that the bridge hands its frames of this type to."""
    with bridge.entered():
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ether_type))
    lab.stack.callback(listener.close)
    listener.bind(("br0", ether_type))
    listener.settimeout(60)
    return listener


def wait_announcement(listener):
    """Until the VM's address is told without a question: by itself (ARP), or for it (RARP)."""
    while True:
        frame = listener.recv(2048)
        rarp = frame[12:14] == RARP.to_bytes(2, "big")
        own = frame[22:28] == frame[32:38] if rarp else frame[28:32] == frame[38:42]
        if own and frame[6:12] == frames.mac_bytes(MAC):
            return


def connect_hosts(*labs):
    """The bridge between the uplinks, whose own address is the peer's."""
    bridge = labs[0].namespace("bridge", ipv6=False)
    bridge.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", 0)
    bridge.up("br0")
    bridge.address("br0", f"{PEER}/24")
    for index, lab in enumerate(labs, 1):
        lab.host.plugged.add("eth1")
        make_veth(lab.host, "eth1", f"host{index}", 4, bridge)
        bridge.ip("link", "set", f"host{index}", "master", "br0")
        lab.start(uplink="eth1")
    return bridge


def place_of(bridge):
    """The side of the bridge that the VM's frames came from last."""
    learned = bridge.run("bridge", "-j", "fdb", "show", "br", "br0").stdout
    return [entry["ifname"] for entry in json.loads(learned) if entry["mac"] == MAC]


def vhost(lab):
    return lab.cli("port", "show", "vm1")["vhost"]


def move(vm, source, target, network):
    """Migrates `vm` from the one lab to the other; the Guest that is there now."""
    path = os.path.join(target.directory, "incoming")
    arrived = target.boot(network, 1, incoming=f"unix:{path}")
    assert arrived.monitor("query-status", PATIENCE)["status"] == "inmigrate"
    assert not any(ring.get("running") for ring in vhost(target)["rings"])
    vm.monitor("migrate-set-parameters", **{"max-bandwidth": BANDWIDTH})
    vm.monitor("migrate", uri=f"unix:{path}")
    logged = []

    def completed():
        logged.append(vhost(source).get("logging"))
        status = vm.monitor("query-migrate", PATIENCE)
        assert status["status"] not in ("failed", "cancelled"), status
        return status["status"] == "completed"

    wait_until(completed, PATIENCE, 0.1, what="the end of the migration")
    assert any(logged), "the rings were never told to log what they write"
    wait_until(lambda: arrived.monitor("query-status")["status"] == "running", PATIENCE, 0.1,
               what="the guest running where it went to")
    arrived.run("true")  # takes what QEMU itself has said until now
    return arrived


def check_places(bridge, here, there, side):
    """After a move from the lab `here`, whose QEMU has ended, to `there`."""
    wait_until(lambda: not vhost(here).get("connected"), 30, what="the old host's port left")
    there.wait_up("vm1")
    assert vhost(there)["connected"]
    assert not vhost(here).get("lastFault") and not vhost(there).get("lastFault")
    wait_until(lambda: place_of(bridge) == [side], 30, what=f"the VM at {side}")


class Transfer:
    """Serves one connection with random bytes, while its context lasts and somewhat longer; their
    checksum.
    """

    def __init__(self):
        self.end = threading.Event()
        self.sent = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end.set()

    def __call__(self, connection):
        connection.settimeout(PATIENCE)
        digest, last = hashlib.sha256(), None
        while last is None or self.sent < last:
            if last is None and self.end.is_set():
                last = self.sent + AFTERWARDS
            data = os.urandom(16 << 10)
            connection.sendall(data)
            digest.update(data)
            self.sent += len(data)
        return digest.hexdigest()


def unread(vm):
    """Bytes of the connection that the guest's kernel holds for the reader."""
    lines = [line.split() for line in vm.run("netstat -tn").output.splitlines()]
    return max((int(line[1]) for line in lines if f"{PEER}:{PORT}" in line), default=0)


def sent(vm):
    """Frames that the guest itself has sent."""
    return int(vm.run("cat /sys/class/net/eth0/statistics/tx_packets").output)


@pytest.mark.parametrize("listens, device, announcement", [
    (False, (), ARP),
    (True, ("packed=on", "guest_announce=off"), RARP),
], ids=["stock", "packed-silent"])
def test_there_and_back(lab, other_lab, listens, device, announcement):
    """There with a transfer running; back with a guest that says nothing, if it need not."""
    bridge = connect_hosts(lab, other_lab)
    networks = {world: Vhost(world.vhost_port("vm1", 1, listens=listens), listens, device=device)
                for world in (lab, other_lab)}
    vm = lab.boot(networks[lab], 1)
    vm.wait_for_boot()
    lab.wait_up("vm1")
    ping(vm, PEER)
    vm.run("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
    vm.run("echo 4096 1048576 1048576 >/proc/sys/net/ipv4/tcp_rmem")
    boot_id = vm.run("cat /proc/sys/kernel/random/boot_id").output
    assert place_of(bridge) == ["host1"]

    announcements = listen(lab, bridge, announcement)
    transfer = Transfer()
    with accepting(bridge, transfer) as result:
        with transfer:
            vm.run(SLOW_READER)
            wait_until(lambda: unread(vm) >= UNREAD, PATIENCE, 0.2, what="a full socket")
            before = transfer.sent
            there = move(vm, lab, other_lab, networks[other_lab])
            wait_announcement(announcements)
            assert transfer.sent > before
            vm.close()
        expected = result.result(PATIENCE)
    wait_until(lambda: there.run("[ -e /tmp/whole ]", check=False).code == 0, PATIENCE, 0.5,
               what="the reader's end")
    assert there.run("cat /tmp/whole").output.split()[0] == expected
    assert there.run("cat /proc/sys/kernel/random/boot_id").output == boot_id
    check_places(bridge, lab, other_lab, "host2")
    bridge.ping(GUEST, 1)
    exchange(there, bridge, PEER)

    # Nobody talks to the guest now: that it is back is known by its announcement alone.
    if announcement == RARP:
        there.run("ip link set eth0 arp off")
    quiet = sent(there)
    announcements = listen(lab, bridge, announcement)
    vm = move(there, other_lab, lab, networks[lab])
    wait_announcement(announcements)
    there.close()
    check_places(bridge, other_lab, lab, "host1")
    if announcement == RARP:
        assert sent(vm) == quiet
        vm.run("ip link set eth0 arp on")
    assert vm.run("cat /proc/sys/kernel/random/boot_id").output == boot_id
    bridge.ping(GUEST, 1)
    exchange(vm, bridge, PEER)
