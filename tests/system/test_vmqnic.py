"""A NIC that takes rules: vmqnic, in a VM, with vmqd and its ports on it.

What must stay true: a frame for a VM is delivered whichever queue the card puts it on.
"""

import pytest

from tests.lab import frames, guest_image
from tests.lab.endpoints import wait_until
from tests.lab.vmqnic_guest import NIC, VmqnicGuest

VM1, VM2 = frames.vm_mac(1), frames.vm_mac(2)


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    """One VM for all tests of this file."""
    try:
        vm = VmqnicGuest(tmp_path_factory.mktemp("vmqnic"))
    except guest_image.Unavailable as reason:
        pytest.skip(str(reason))
    try:
        vm.set_up()
        yield vm
    finally:
        vm.close()


@pytest.fixture
def vm(booted, request):
    """The VM with a new card and a vmqd that knows nothing yet."""
    booted.plug()
    booted.start()
    try:
        yield booted
        if not getattr(request.node, "passed", False):
            for words in (("uplink", "list"), ("port", "list")):
                print(f"--- vmqd-cli {' '.join(words)}\n{booted.call(*words).output}")
            print(f"--- log of vmqd\n{booted.log()}")
    finally:
        booted.clean_up()
        booted.unplug()


def delivered(vm, port):
    return int(vm.run(f"cat /sys/class/net/{port}-p/statistics/rx_packets").output)


def check_delivered(vm, port, mac, count, vlan=None):
    """`count` frames of many flows reach the port; frames the card received by queue."""
    before = delivered(vm, port)
    received = vm.send(mac, count, vlan)
    wait_until(lambda: delivered(vm, port) == before + count, what=f"{count} frames at {port}")
    return received


def test_every_queue_reaches_the_vm(vm):
    """Nothing is asked of the card: the hash spreads the frames, vmqd puts them right."""
    vm.cli("uplink", "add", NIC)
    vm.add_vm("vm1", VM1)
    vm.add_vm("vm2", VM2, "--vlan", 20)
    for port, mac, vlan in (("vm1", VM1, None), ("vm2", VM2, 20)):
        received = check_delivered(vm, port, mac, 400, vlan)
        assert all(received), f"the hash left a queue out: {received}"
    uplink = vm.cli("uplink", "show", NIC)
    assert int(uplink["misplacedPkts"]) > 400 and not vm.rules()


def test_vm_and_wire_ping_each_other(vm):
    vm.cli("uplink", "add", NIC)
    vm.add_vm("vm1", VM1)
    vm.run("/opt/ip netns add vm1; /opt/ip link set vm1-p netns vm1; "
           "/opt/ip -n vm1 link set vm1-p up; /opt/ip -n vm1 addr add 10.0.0.1/24 dev vm1-p; "
           "/opt/ip -n wire addr add 10.0.0.254/24 dev vmqnic0-wire")
    try:
        vm.run("/opt/ip netns exec vm1 ping -c 3 -W 5 10.0.0.254")
        vm.run("/opt/ip netns exec wire ping -c 3 -W 5 10.0.0.1")
    finally:
        vm.run("/opt/ip netns del vm1")
