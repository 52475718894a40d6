"""Real VMs on vhost-user ports: Debian's kernel in QEMU, with the virtio settings a user gets.

What must stay true for a guest nobody tuned: it pings, and a file crosses in both directions intact
with checksum and segmentation offload on, to the wire and to another guest; and whatever ends on
either side, the guest's kernel, its driver, QEMU or vmqd, the link is back with nothing done in the
guest, while the other ports never noticed.
"""

import concurrent.futures
import threading

import pytest

from tests.lab.endpoints import wait_until
from tests.lab.guest import NO_OFFLOADS, Vhost
from tests.lab.transfer import exchange, move, ping, reach

WIRE = "10.0.0.254"
# Bits of virtio-net's feature word, and what the guest loses without them.
STOCK_FEATURES = {0: "CSUM", 1: "GUEST_CSUM", 7: "GUEST_TSO4", 8: "GUEST_TSO6", 11: "HOST_TSO4",
                  12: "HOST_TSO6", 15: "MRG_RXBUF", 28: "INDIRECT_DESC", 29: "EVENT_IDX"}
PACKED = 34
DIMM_MIB = 128  # what Linux on x86 takes at least: one memory block


pytestmark = pytest.mark.usefixtures("guest_files")


def features(vm):
    """The bits the guest's driver and the device agreed on."""
    return vm.run("cat /sys/class/net/eth0/device/features").output


def boot(lab, *vms):
    """Waits for VMs that boot side by side."""
    for vm in vms:
        vm.wait_for_boot()
    for port in lab.cli("port", "list")["ports"]:
        lab.wait_up(port["name"].split("/")[1])


def vhost(lab, port):
    return lab.cli("port", "show", port)["vhost"]


def check_stock(lab, port, vm):
    """The guest has every offload, and vmqd says the same."""
    bits = features(vm)
    missing = [name for bit, name in STOCK_FEATURES.items() if bits[bit] != "1"]
    assert not missing, f"the guest on {port} did not negotiate {missing}"
    told = vhost(lab, port)
    assert not set(STOCK_FEATURES.values()) - set(told["features"]), told
    assert told["connected"] and not told.get("lastFault"), told


def test_two_guests_with_each_other_and_the_wire(lab):
    """One connects to vmqd's socket, at the other's vmqd is the one who connects."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    first = lab.vhost_guest("vm1", 1)
    second = lab.vhost_guest("vm2", 2, listens=True)
    boot(lab, first, second)
    for port, vm in (("vm1", first), ("vm2", second)):
        check_stock(lab, port, vm)
        ping(vm, WIRE)
    ping(first, "10.0.0.2")
    ping(second, "10.0.0.1")
    move(first, second, "10.0.0.2")
    move(second, first, "10.0.0.1")
    exchange(first, wire, WIRE)
    exchange(second, wire, WIRE)
    assert not vhost(lab, "vm1").get("lastFault") and not vhost(lab, "vm2").get("lastFault")


def test_devices_as_they_come(lab):
    """Packed rings, rings of 1024, and guests that lack what everybody else has, side by side."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    devices = {"vm1": ("packed=on", "rx_queue_size=1024", "tx_queue_size=1024"),
               "vm2": ("mrg_rxbuf=off", "rx_queue_size=512"),
               "vm3": NO_OFFLOADS + ("indirect_desc=off", "event_idx=off")}
    vms = {name: lab.vhost_guest(name, index, device=device)
           for index, (name, device) in enumerate(devices.items(), 1)}
    boot(lab, *vms.values())
    bits = {name: features(vm) for name, vm in vms.items()}
    assert bits["vm1"][PACKED] == "1" and "RING_PACKED" in vhost(lab, "vm1")["features"]
    assert bits["vm2"][15] == "0" and "MRG_RXBUF" not in vhost(lab, "vm2")["features"]
    assert [bits["vm3"][bit] for bit in (0, 1, 7, 11, 28, 29)] == ["0"] * 6
    sizes = {name: [ring["size"] for ring in vhost(lab, name)["rings"]] for name in vms}
    assert sizes["vm1"] == [1024, 1024] and sizes["vm2"] == [512, 256], sizes
    for vm in vms.values():
        ping(vm, WIRE, 3)
        exchange(vm, wire, WIRE, 4 << 20)
    # Between guests that do not have the same offloads, in both directions.
    for sender, receiver in (("vm1", "vm3"), ("vm3", "vm1"), ("vm1", "vm2"), ("vm3", "vm2")):
        move(vms[sender], vms[receiver], f"10.0.0.{receiver[2:]}", 4 << 20)


def test_multi_queue_guest(lab):
    wire = lab.wire()
    lab.start(uplink="eth1")
    vm = lab.vhost_guest("vm1", 1, queues=2, cpus=2)
    boot(lab, vm)
    queues = vm.run("ls /sys/class/net/eth0/queues").output.split()
    assert queues == ["rx-0", "rx-1", "tx-0", "tx-1"]
    rings = [ring for ring in vhost(lab, "vm1")["rings"] if ring.get("enabled")]
    assert len(rings) == 4 and all(ring.get("running") for ring in rings), rings
    for cpu in (1, 2):  # a sender uses the queue of the CPU it runs on
        vm.run(f"taskset {cpu} ping -c 3 -W 5 {WIRE}")
    exchange(vm, wire, WIRE)
    for size in range(16, 1400, 100):
        wire.ping("10.0.0.1", 1, "-s", size)


def test_guest_reboots_and_is_stopped(lab):
    """Reboots, resets, stops and driver changes in one guest; the other one is always there."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    steady = lab.vhost_vm("vm1", 1)
    vm = lab.vhost_guest("vm2", 2, reboots=True)
    boot(lab, vm)
    connections = int(vhost(lab, "vm1")["connections"])

    def back():
        reach(vm, WIRE)
        reach(vm, "10.0.0.1")
        steady.ping("10.0.0.2")
        wire.ping("10.0.0.2")

    back()
    for restart in (vm.reboot, vm.reset, vm.reboot):
        restart()
        back()
    for _ in range(3):
        vm.monitor("stop")
        steady.ping(WIRE)
        assert not steady.ping("10.0.0.2", 1, "-W", "1", check=False)
        vm.monitor("cont")
        back()
    for _ in range(3):
        vm.rebind()
        back()
    check_stock(lab, "vm2", vm)
    exchange(vm, wire, WIRE)
    steady.ping(WIRE)
    assert int(vhost(lab, "vm1")["connections"]) == connections


@pytest.mark.parametrize("listens", [False, True], ids=["switch-listens", "vmm-listens"])
def test_qemu_killed_and_vmqd_restarted(lab, listens):
    """kill -9 of QEMU and a new one on the same port; then vmqd ends and dies under the new VM."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    lab.conserves = False
    steady = lab.vhost_vm("vm1", 1)
    socket = lab.vhost_port("vm2", 2, listens=listens)
    vm = lab.boot(Vhost(socket, listens), 2)
    boot(lab, vm)
    ping(vm, WIRE, 2)
    vm.kill()
    wait_until(lambda: lab.cli("port", "show", "vm2")["operStatus"] == "DOWN", 30,
               what="port vm2 down")
    steady.ping(WIRE)
    assert not vhost(lab, "vm2").get("connected")
    vm = lab.boot(Vhost(socket, listens), 2)
    boot(lab, vm)
    ping(vm, WIRE, 2)
    for end in (lab.daemon.stop, lab.daemon.kill):
        end()
        vm.run(f"ping -c 2 -W 1 {WIRE}", check=False)  # its ring has frames when vmqd is back
        lab.daemon.start()
        lab.wait_up("vm2")
        reach(vm, WIRE)
        ping(vm, WIRE, 3)
        exchange(vm, wire, WIRE, 4 << 20)
    check_stock(lab, "vm2", vm)


def memory_of(lab, port):
    """(regions, bytes) of the VM's memory that vmqd has mapped."""
    told = vhost(lab, port)
    return told["memoryRegions"], int(told["memoryBytes"])


def unchanged(lab, port):
    """What a port that was left alone keeps."""
    told = vhost(lab, port)
    return {key: told.get(key) for key in ("connected", "since", "connections", "faults",
                                           "lastFault", "features")}


def mib_online(vm):
    return int(vm.run("awk '/^MemTotal/ { print $2 }' /proc/meminfo").output) >> 10


def mib_used_of_plugged(vm):
    """A small VM has zone Normal, above 4 GiB, by plugged memory alone."""
    pages = vm.run("awk '/^Node/ { zone = $4 } zone == \"Normal\" && $1 == \"managed\" { all = $2 } "
                   "zone == \"Normal\" && $2 == \"free\" { free = $3 } "
                   "END { print all - free }' /proc/zoneinfo").output
    return int(pages) >> 8


def blocks(vm, state):
    """The guest's memory blocks in this state, such as memory32."""
    return vm.run(f"cd /sys/devices/system/memory; grep -lx {state} memory*/state | cut -d/ -f1",
                  check=False).output.split()


def plug(lab, vm, name):
    """A DIMM more in the VM on port vm1, and vmqd has it; the guest's block, not in use yet."""
    regions, size = memory_of(lab, "vm1")
    vm.plug_memory(name, DIMM_MIB)
    wait_until(lambda: memory_of(lab, "vm1") == (regions + 1, size + (DIMM_MIB << 20)), 30,
               what=f"{name} mapped by vmqd")
    wait_until(lambda: blocks(vm, "offline"), 60, 0.2, what=f"{name} seen by the guest")
    return blocks(vm, "offline")[0]


def test_memory_is_plugged_in(lab):
    """And pulled out. The guest uses it for packets, and at last for its rings."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    steady = lab.vhost_vm("vm2", 2)
    vm = lab.vhost_guest("vm1", 1, slots=2)
    boot(lab, vm)
    ping(vm, WIRE)
    before = {port: unchanged(lab, port) for port in ("vm1", "vm2")}
    other, own = memory_of(lab, "vm2"), memory_of(lab, "vm1")
    online = mib_online(vm)
    done = threading.Event()

    def go_on_pinging():
        while not done.is_set():
            steady.ping(WIRE, 1)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pings = pool.submit(go_on_pinging)
        try:
            block = plug(lab, vm, "used")
            vm.run(f"echo online_kernel >/sys/devices/system/memory/{block}/state")
            assert mib_online(vm) >= online + DIMM_MIB * 3 // 4
            exchange(vm, wire, WIRE)
            assert mib_used_of_plugged(vm) >= 4, "the plugged memory is not used"
            plug(lab, vm, "idle")
            vm.unplug_memory("idle")
            wait_until(lambda: memory_of(lab, "vm1") == (own[0] + 1, own[1] + (DIMM_MIB << 20)), 60,
                       what="the idle DIMM gone")
            exchange(vm, wire, WIRE)
        finally:
            done.set()
        pings.result(timeout=60)
    assert {port: unchanged(lab, port) for port in before} == before
    assert memory_of(lab, "vm2") == other
    vm.rebind()  # new rings, in the plugged memory
    reach(vm, WIRE)
    exchange(vm, wire, WIRE, 4 << 20)
    assert not vhost(lab, "vm1").get("lastFault")
