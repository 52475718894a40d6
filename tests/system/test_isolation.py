"""One port's trouble is its own: stalled VMs, ports that come and go, links that flap."""

import threading
import time

import pytest

from tests.lab import frames
from tests.lab.endpoints import TapVm, wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.vmqd import number


class Stream:
    """A numbered flow sent by a thread until it is stopped."""

    def __init__(self, endpoint, dst, src, flow, rate=3000, **kwargs):
        self.endpoint, self.sent, self.flow = endpoint, 0, flow
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(dst, src, rate, kwargs),
                                        daemon=True)
        self._thread.start()

    def _run(self, dst, src, rate, kwargs):
        start = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - start) * rate)
            for _ in range(min(due - self.sent, 64)):
                self.endpoint.send(frames.numbered(dst, src, self.flow, self.sent), **kwargs)
                self.sent += 1
            time.sleep(0.002)

    def stop(self):
        self._stop.set()
        self._thread.join()
        return self.sent


def check_lossless(receiver, flow, sent):
    got = receiver.wait_flow(flow, sent, 10)
    missing = sorted(set(range(sent)) - set(got))
    assert not missing, f"flow {flow}: {len(missing)} of {sent} lost, first {missing[:5]}"
    assert got == sorted(got) and len(got) == sent, f"flow {flow}: reordered or duplicated"


@pytest.mark.core
def test_stalled_vm_beside_a_busy_one(lab):
    """Both on one queue; a VM that reads nothing loses only its own frames, each for a reason."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    busy = lab.tap_vm("busy", frames.vm_mac(1), "--queue", "1")
    stalled = lab.tap_vm("stalled", frames.vm_mac(2), "--queue", "1", reading=False)
    other = lab.tap_vm("other", frames.vm_mac(3), "--queue", "1")
    to_stalled = Stream(nic, stalled.mac, WIRE_MAC, 2, 6000, queue=1)
    local = Stream(other, stalled.mac, other.mac, 3, 1000)
    to_busy = Stream(nic, busy.mac, WIRE_MAC, 1, 2000, queue=1)
    out = Stream(busy, WIRE_MAC, busy.mac, 4, 1000)
    time.sleep(3)
    meant = to_stalled.stop() + local.stop()
    check_lossless(busy, 1, to_busy.stop())
    check_lossless(nic, 4, out.stop())
    stalled.read_again()  # what waits in its ring is its own, and comes when it reads again
    lab.conservation()
    for direction in ("in", "out"):
        assert lab.drops("port", "busy", direction) == {}
    counters = lab.cli("port", "show", "stalled")["counters"]
    reasons = lab.drops("port", "stalled", "out")
    assert reasons and set(reasons) <= {"port_full", "rx_ring_full", "device_refused"}, reasons
    assert number(counters, "offeredPkts") == meant
    assert len(stalled.flow(2)) + len(stalled.flow(3)) == number(counters, "outPkts")


@pytest.mark.core
def test_stalled_container_beside_a_busy_one(lab):
    """The same for a veth whose far end is down half way through."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    busy = lab.packet(lab.veth_vm("busy", 1, "--queue", "1"))
    flappy_ns = lab.veth_vm("flappy", 2, "--queue", "1")
    to_busy = Stream(nic, frames.vm_mac(1), WIRE_MAC, 1, 2000, queue=1)
    to_flappy = Stream(nic, frames.vm_mac(2), WIRE_MAC, 2, 2000, queue=1)
    for _ in range(3):
        time.sleep(0.2)
        flappy_ns.ip("link", "set", "eth0", "down")
        time.sleep(0.2)
        flappy_ns.ip("link", "set", "eth0", "up")
    to_flappy.stop()
    check_lossless(busy, 1, to_busy.stop())


@pytest.mark.core
def test_add_and_remove_under_load(lab):
    """Ports of every kind come and go on the queue of a port whose traffic misses no number."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    stays = lab.tap_vm("stays", frames.vm_mac(1), "--queue", "1")
    peer = lab.packet(lab.veth_vm("peer", 2, "--queue", "1"))
    streams = [(stays, Stream(nic, stays.mac, WIRE_MAC, 1, 2000, queue=1)),
               (stays, Stream(nic, stays.mac, WIRE_MAC, 5, 1000, queue=2)),
               (nic, Stream(stays, WIRE_MAC, stays.mac, 2, 2000)),
               (peer, Stream(stays, frames.vm_mac(2), stays.mac, 3, 1000)),
               (stays, Stream(peer, stays.mac, frames.vm_mac(2), 4, 1000))]
    for turn in range(6):
        for index, kind in enumerate((("--tap", "t"), ("--veth", "v,v-p"), ("--host", "h"))):
            lab.cli("port", "add", f"guest{index}", *kind, "--mac", frames.vm_mac(100 + index),
                    "--queue", 1 + turn % 2)
            nic.send_flow(frames.vm_mac(100 + index), WIRE_MAC, 50, 20, queue=1)
        lab.cli("port", "set", "guest0", "--vlan", "7", "--mac", frames.vm_mac(200))
        for index in range(3):
            lab.cli("port", "del", f"guest{index}")
    for receiver, stream in streams:
        check_lossless(receiver, stream.flow, stream.stop())
    queue = lab.cli("queue", "show", "nic0", 1)
    lab.conservation()
    assert {link for link in lab.host.links() if link in ("t", "v", "v-p", "h")} == set()
    assert queue["buffers"] > queue["buffersReserved"]


def test_removed_ports_give_their_buffers_back(lab):
    """Fifty rounds of the same port leave the queue's buffers as they were."""
    nic = lab.nic(queues=1)
    lab.start(uplink="nic0")

    def look():
        queue = lab.cli("queue", "show", "nic0", 0)
        return queue["buffersFree"], queue.get("buffersReserved", 0)

    before = look()
    for turn in range(50):
        kind = ("--tap", "t") if turn % 2 else ("--veth", "v,v-p")
        lab.cli("port", "add", "guest", *kind, "--mac", frames.vm_mac(1))
        nic.send_flow(frames.vm_mac(1), WIRE_MAC, turn, 30)
        lab.cli("port", "del", "guest")
    wait_until(lambda: look() == before, what=f"buffers back at {before}")


@pytest.mark.core
def test_uplink_flap(lab):
    nic = lab.nic()
    lab.start(uplink="nic0")
    a, b = lab.tap_vm("a", frames.vm_mac(1)), lab.tap_vm("b", frames.vm_mac(2))
    local = Stream(a, b.mac, a.mac, 1, 2000)
    for turn in range(3):
        lab.host.ip("link", "set", "nic0", "down")
        wait_until(lambda: lab.cli("uplink", "show", "nic0")["operStatus"] == "DOWN",
                   what="uplink seen down")
        assert lab.cli("uplink", "show", "nic0")["operReason"]
        lab.host.ip("link", "set", "nic0", "up")
        wait_until(lambda: lab.cli("uplink", "show", "nic0")["operStatus"] == "UP",
                   what="uplink seen up")
        flow = 10 + turn
        for queue in range(4):
            nic.send_flow(a.mac, WIRE_MAC, flow, 20, queue=queue, first=queue * 20)
        assert sorted(a.wait_flow(flow, 80)) == list(range(80))
        b.send_flow(WIRE_MAC, b.mac, 20 + turn, 20)
        assert nic.wait_flow(20 + turn, 20) == list(range(20))
    check_lossless(b, 1, local.stop())


@pytest.mark.core
def test_port_flap(lab):
    """A VMM that closes its tap and opens it again finds its port as it left it."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    first = lab.tap_vm("a", frames.vm_mac(1))
    nic.send_flow(first.mac, WIRE_MAC, 1, 20)
    assert first.wait_flow(1, 20) == list(range(20))
    first.close()
    wait_until(lambda: lab.cli("port", "show", "a")["operStatus"] == "DOWN", what="port seen down")
    nic.send_flow(first.mac, WIRE_MAC, 2, 20)
    wait_until(lambda: lab.drops("port", "a", "out") == {"port_down": 20}, what="20 port_down")
    again = TapVm(lab.inbox, lab.host, "a", first.mac)
    lab.stack.callback(again.close)
    wait_until(lambda: lab.cli("port", "show", "a")["operStatus"] == "UP", what="port seen up")
    nic.send_flow(first.mac, WIRE_MAC, 3, 20)
    assert again.wait_flow(3, 20) == list(range(20))


def test_device_of_a_port_disappears(lab):
    """Somebody deletes a netdev port's device: that port waits and says so, others go on."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    a = lab.tap_vm("a", frames.vm_mac(1), "--queue", "1")
    lab.netdev_vm("gone", 2, "--queue", "1")
    stream = Stream(nic, a.mac, WIRE_MAC, 1, 2000, queue=1)
    to_gone = Stream(nic, frames.vm_mac(2), WIRE_MAC, 2, 1000, queue=1)
    lab.host.ip("link", "del", "gone")
    wait_until(lambda: lab.cli("port", "show", "gone")["operStatus"] == "WAITING",
               what="the loss of the device noticed")
    assert lab.cli("port", "show", "gone")["operReason"]
    time.sleep(0.2)
    to_gone.stop()
    check_lossless(a, 1, stream.stop())
    lab.cli("port", "del", "gone")
    lab.cli("port", "add", "gone", "--tap", "gone", "--mac", frames.vm_mac(2))
