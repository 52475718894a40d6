"""A host with two NUMA nodes, which no machine of the lab is: a VM plays one, with its NIC on a node."""

import pytest

from tests.lab import frames, guest_image
from tests.lab.endpoints import wait_until
from tests.lab.vmqnic_guest import NIC, WIRE, VmqnicGuest

VM1, VM2 = frames.vm_mac(1), frames.vm_mac(2)
NEAR = {2, 3}  # CPUs of node 1, where the NIC sits


@pytest.fixture
def vm(tmp_path):
    try:
        host = VmqnicGuest(tmp_path, cpus=4, nodes=2)
    except guest_image.Unavailable as reason:
        pytest.skip(str(reason))
    try:
        host.set_up()
        host.plug(queues=4, node=1)
        yield host
    finally:
        host.close()


def delivered(vm, port):
    return int(vm.run(f"cat /sys/class/net/{port}-p/statistics/rx_packets").output)


def cpus(vm):
    return {queue.get("queue", 0): queue.get("cpu", 0) for queue in vm.cli("queue", "list")["queues"]}


def processor_set(vm, cpus):
    vm.run(f"""echo 'processor_set: "{cpus}"' >/tmp/vmqd.yaml""")


def test_workers_stay_near_their_nic(vm):
    """Dealt to the NIC's node first, to the other where that has no CPU left. When the processor set
    shrinks under load, who has to go goes to the near node."""
    vm.VMQD = f"{vm.VMQD} --config /tmp/vmqd.yaml"
    processor_set(vm, "0-3")
    vm.start()
    assert vm.cli("uplink", "add", NIC, "--balance", "static")["numaNode"] == 1
    queues = vm.cli("queue", "list")["queues"]
    assert [queue.get("numaNode", 0) for queue in queues] == [1, 1, 0, 0], queues
    before = cpus(vm)
    assert before == {0: 2, 1: 3, 2: 0, 3: 1}
    for name, mac, queue in (("vm1", VM1, 2), ("vm2", VM2, 3)):
        vm.add_vm(name, mac, "--queue", queue)
    took = [delivered(vm, port) for port in ("vm1", "vm2")]
    processor_set(vm, "0,2-3")
    vm.run(f"(for i in $(seq 40); do for mac in {VM1} {VM2}; do "
           f"/opt/ip netns exec wire /opt/send {WIRE} 100 8 $mac; done; done) & "
           "sleep 0.3; kill -HUP $(pidof vmqd); wait")
    wait_until(lambda: [delivered(vm, port) for port in ("vm1", "vm2")] ==
               [count + 4000 for count in took], what="all frames of the time of the move")
    after = cpus(vm)
    assert after == before | {3: after[3]} and after[3] in NEAR, after
