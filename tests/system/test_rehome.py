"""Ports go from queue to queue while frames flow, as an operator would have them go."""

import pytest

from tests.lab import frames
from tests.lab.lab import WIRE_MAC
from tests.lab.vmqd import number
from tests.system.test_isolation import Stream, check_lossless

MOVES = 30


def home(lab, port):
    return number(lab.cli("port", "show", port), "effectiveQueue")


@pytest.mark.core
@pytest.mark.parametrize("kind", ["tap", "veth"])
def test_a_port_moves_under_load(lab, kind):
    """Its frames come and go without a gap; its buffers are all there in the end."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    mac = frames.vm_mac(1)
    vm = (lab.tap_vm("vm1", mac, "--queue", "1") if kind == "tap"
          else lab.packet(lab.veth_vm("vm1", 1, "--queue", "1")))
    peer = lab.packet(lab.veth_vm("vm2", 2, "--queue", "2"))
    streams = [(vm, Stream(nic, mac, WIRE_MAC, 1, 2000, queue=1)),
               (vm, Stream(nic, mac, WIRE_MAC, 2, 2000, queue=2)),
               (nic, Stream(vm, WIRE_MAC, mac, 3, 2000)),
               (peer, Stream(vm, frames.vm_mac(2), mac, 4, 1000)),
               (vm, Stream(peer, mac, frames.vm_mac(2), 5, 1000))]
    queues = number(lab.cli("uplink", "show", "nic0"), "effectiveQueues")
    for turn in range(MOVES):
        to = (turn * 3 + 2) % queues
        lab.cli("port", "set", "vm1", "--queue", to)
        assert home(lab, "vm1") == to
    for receiver, stream in streams:
        check_lossless(receiver, stream.flow, stream.stop())
    lab.conservation()
    for direction in ("in", "out"):
        assert lab.drops("port", "vm1", direction) == {}
    lab.cli("port", "del", "vm1")
    lab.cli("port", "del", "vm2")
    for queue in lab.cli("queue", "list")["queues"]:
        assert number(queue, "buffersInFlight") == 0


def test_weight_decides_where_a_port_lives(lab):
    """Weight 0 sends a running port to the default queue; more lets it have another one again."""
    lab.nic()
    lab.start(uplink="nic0")
    lab.veth_vm("vm1", 1)
    assert home(lab, "vm1") != 0
    lab.cli("port", "set", "vm1", "--weight", "0")
    assert home(lab, "vm1") == 0
    lab.cli("port", "set", "vm1", "--weight", "50")
    assert home(lab, "vm1") != 0
