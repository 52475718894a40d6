"""Receive queues, home queues and placement, on the NIC stand-in, frame by frame."""

import pytest

from tests.lab import frames
from tests.lab.lab import WIRE_MAC
from tests.lab.vmqd import number

BURST = 200


def home(lab, port):
    return lab.cli("port", "show", port).get("effectiveQueue", 0)


@pytest.mark.core
def test_every_queue_with_every_vm_mac(lab):
    """4 queues x 6 VMs: frames arrive wherever the NIC put them; misplaced ones are counted."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    vms = [lab.tap_vm(f"vm{i}", frames.vm_mac(i)) for i in range(6)]
    misplaced = 0
    for queue in range(4):
        for index, vm in enumerate(vms):
            flow = queue * 100 + index
            nic.send_flow(vm.mac, WIRE_MAC, flow, BURST, queue=queue)
            misplaced += BURST * (home(lab, f"vm{index}") != queue)
            assert vm.wait_flow(flow, BURST) == list(range(BURST)), (queue, index)
    lab.conservation()
    uplink = lab.cli("uplink", "show", "nic0")
    assert number(uplink, "misplacedPkts") == misplaced > 0
    assert number(uplink["counters"], "inPkts") >= 4 * 6 * BURST
    listed = lab.cli("queue", "list")["queues"]
    assert sum(number(queue, "misplacedPkts") for queue in listed) == misplaced
    assert lab.drops("uplink", "nic0", "in") == {}


def test_nothing_misplaced_when_the_nic_steers(lab):
    nic = lab.nic()
    lab.start()
    lab.cli("uplink", "add", "nic0", "--steering", "external")
    vms = [lab.tap_vm(f"vm{i}", frames.vm_mac(i)) for i in range(5)]
    for index, vm in enumerate(vms):
        nic.steer(vm.mac, home(lab, f"vm{index}"))
        nic.send_flow(vm.mac, WIRE_MAC, index, BURST)
        assert vm.wait_flow(index, BURST) == list(range(BURST))
    uplink = lab.cli("uplink", "show", "nic0")
    assert number(uplink, "misplacedPkts") == 0
    assert uplink["effectiveSteering"] == "EXTERNAL"


def test_transmit_leaves_by_the_home_queue(lab):
    nic = lab.nic()
    lab.start(uplink="nic0")
    for index in range(4):
        vm = lab.tap_vm(f"vm{index}", frames.vm_mac(index), "--queue", index)
        vm.send_flow(WIRE_MAC, vm.mac, index, BURST)
        assert nic.wait_flow(index, BURST) == list(range(BURST))
        queues = {item.queue for item in nic.frames
                  if (frames.number_of(item.frame) or (None,))[0] == index}
        assert queues == {index}


def test_static_placement(lab):
    """A queue each while queues last (1, 2, 3), shared after that; weight 0: the default queue."""
    lab.nic()
    lab.start(uplink="nic0")
    for index in range(5):
        lab.tap_vm(f"vm{index}", frames.vm_mac(index))
    lab.tap_vm("light", frames.vm_mac(50), "--weight", "0")
    lab.tap_vm("asked", frames.vm_mac(51), "--queue", "2")
    assert [home(lab, f"vm{index}") for index in range(5)] == [1, 2, 3, 1, 2]
    assert home(lab, "light") == 0 and home(lab, "asked") == 2
    queues = lab.cli("queue", "list", "--uplink", "nic0")["queues"]
    assert [queue.get("queue", 0) for queue in queues] == [0, 1, 2, 3]
    assert queues[0].get("defaultQueue") and not queues[1].get("defaultQueue")
    assert queues[3].get("dedicated") and not queues[1].get("dedicated")
    assert {f["mac"] for f in queues[1]["filters"]} == {frames.vm_mac(0), frames.vm_mac(3)}
    for queue in queues:
        assert "cpu" in queue or queue.get("cpu", 0) == 0
        shown = lab.cli("queue", "show", "nic0", queue.get("queue", 0))
        assert shown["name"] == queue["name"]


def test_several_macs_per_port(lab):
    nic = lab.nic()
    lab.start(uplink="nic0")
    macs = [frames.vm_mac(index) for index in (1, 2, 3)]
    vm = lab.tap_vm("vm1", ",".join(macs))
    for flow, mac in enumerate(macs):
        nic.send_flow(mac, WIRE_MAC, flow, 20, queue=flow)
        assert vm.wait_flow(flow, 20) == list(range(20))
        vm.send_flow(WIRE_MAC, mac, 10 + flow, 20)
        assert nic.wait_flow(10 + flow, 20) == list(range(20))


def test_fewer_queues_than_the_device_has(lab):
    """A VM's frames on a queue that vmqd does not serve are not lost unnamed."""
    nic = lab.nic()
    lab.start()
    lab.cli("uplink", "add", "nic0", "--queues", "2")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    assert len(lab.cli("queue", "list")["queues"]) == 2
    for queue in range(4):
        nic.send_flow(vm.mac, WIRE_MAC, queue, 50, queue=queue)
    assert vm.wait_flow(0, 50) == list(range(50)) and vm.wait_flow(1, 50) == list(range(50))
    lab.conservation()
    assert lab.drops("uplink", "nic0", "in").get("no_socket", 0) == 100


def test_fewest_buffers_still_carry_everything(lab):
    """The smallest --buffers there is: unicast, floods and local frames all arrive."""
    nic = lab.nic()
    lab.start()
    lab.cli("uplink", "add", "nic0", "--buffers", "2048")
    a = lab.tap_vm("a", frames.vm_mac(1), "--queue", "1")
    b = lab.tap_vm("b", frames.vm_mac(2), "--queue", "3")
    nic.send_flow(a.mac, WIRE_MAC, 1, BURST, queue=1)
    nic.send_flow(a.mac, WIRE_MAC, 2, BURST, rate=2000, queue=2)
    nic.send_flow(frames.BROADCAST, WIRE_MAC, 3, 50, rate=2000)
    a.send_flow(b.mac, a.mac, 4, BURST)
    a.send_flow(frames.BROADCAST, a.mac, 5, 50, rate=2000)
    for receiver, flow, count in ((a, 1, BURST), (a, 2, BURST), (a, 3, 50), (b, 3, 50),
                                  (b, 4, BURST), (b, 5, 50), (nic, 5, 50)):
        assert receiver.wait_flow(flow, count) == list(range(count)), flow


@pytest.mark.core
def test_200_ports_on_4_queues(lab):
    nic = lab.nic()
    lab.start(uplink="nic0")
    vms = [lab.tap_vm(f"vm{i}", frames.vm_mac(i)) for i in range(200)]
    assert len(lab.cli("port", "list")["ports"]) == 200
    for index, vm in enumerate(vms):
        nic.send_flow(vm.mac, WIRE_MAC, index, 10, queue=index % 4)
    for index, vm in enumerate(vms):
        assert vm.wait_flow(index, 10) == list(range(10)), index
        vm.send_flow(vms[(index + 1) % 200].mac, vm.mac, 1000 + index, 5)
    for index in range(200):
        assert vms[(index + 1) % 200].wait_flow(1000 + index, 5) == list(range(5))
    per_queue = [len(queue.get("filters", [])) for queue in lab.cli("queue", "list")["queues"]]
    assert sum(per_queue) == 200 and max(per_queue[1:]) - min(per_queue[1:]) <= 1, per_queue


@pytest.mark.parametrize("mode", ["adaptive", "poll", "interrupt"])
def test_wake_modes(lab, mode):
    nic = lab.nic(queues=2)
    lab.start()
    lab.cli("uplink", "add", "nic0", "--wake-mode", mode)
    uplink = lab.cli("uplink", "show", "nic0")
    assert uplink["wakeMode"] == mode.upper()
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    for flow in range(4):  # with pauses, in which a worker falls asleep
        nic.send_flow(vm.mac, WIRE_MAC, flow, 20, queue=flow % 2)
        assert vm.wait_flow(flow, 20) == list(range(20))


def test_generic_mode_is_shown(lab):
    nic = lab.nic()
    lab.start()
    lab.cli("uplink", "add", "nic0", "--xdp-mode", "generic")
    uplink = lab.cli("uplink", "show", "nic0")
    assert uplink["xdpMode"] == uplink["effectiveXdpMode"] == "GENERIC"
    assert lab.host.links()["nic0"]["xdp"]["mode"] == 2
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    for queue in range(4):
        nic.send_flow(vm.mac, WIRE_MAC, queue, 50, queue=queue, rate=2000)
        assert vm.wait_flow(queue, 50) == list(range(50))
