"""Real VMs: Debian's kernel in QEMU on tap ports, with the virtio settings a user gets.

What must stay true for a guest nobody tuned: it pings, and a file crosses in both directions intact
with checksum and segmentation offload on, to the wire, to the host and to another guest.
"""

import contextlib

import pytest

from tests.lab import frames, guest
from tests.lab.transfer import exchange, move, ping

WIRE, HOST = "10.0.0.254", "10.0.0.253"
# Bits of virtio-net's feature word, and what the guest loses without them.
STOCK_FEATURES = {0: "CSUM", 1: "GUEST_CSUM", 7: "GUEST_TSO4", 11: "HOST_TSO4", 15: "MRG_RXBUF"}


pytestmark = pytest.mark.usefixtures("guest_files")


@contextlib.contextmanager
def booted(lab, count):
    """`count` guests, guest i on tap port vm<i> with address 10.0.0.<i>, booting side by side."""
    with contextlib.ExitStack() as stack:
        guests = []
        for index in range(1, count + 1):
            mac = frames.vm_mac(index)
            lab.cli("port", "add", f"vm{index}", "--tap", f"vm{index}", "--mac", mac)
            guests.append(stack.enter_context(guest.Guest(lab.host, f"vm{index}", mac)))
        for index, vm in enumerate(guests, start=1):
            vm.wait_for_boot()
            vm.run(f"ip addr add 10.0.0.{index}/24 dev eth0")
            bits = vm.run("cat /sys/class/net/eth0/device/features").output
            missing = [name for bit, name in STOCK_FEATURES.items() if bits[bit] != "1"]
            assert not missing, f"guest {index} did not negotiate {missing}: not stock settings"
        yield guests


def test_guest_with_wire_and_host(lab):
    wire = lab.wire()
    lab.start(uplink="eth1")
    lab.host_port()
    with booted(lab, 1) as (vm,):
        for namespace, address in ((wire, WIRE), (lab.host, HOST)):
            ping(vm, address)
            exchange(vm, namespace, address)
        wire.ping("10.0.0.1")
        lab.host.ping("10.0.0.1")


def test_two_guests_with_each_other(lab):
    lab.wire()
    lab.start(uplink="eth1")
    with booted(lab, 2) as (first, second):
        ping(first, "10.0.0.2")
        ping(second, "10.0.0.1")
        move(first, second, "10.0.0.2")
        move(second, first, "10.0.0.1")
