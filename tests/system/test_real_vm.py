"""Real VMs: Debian's kernel in QEMU on tap ports, with the virtio settings a user gets.

What must stay true for a guest nobody tuned: it pings, and a file crosses in both directions intact
with checksum and segmentation offload on, to the wire, to the host and to another guest.
"""

import concurrent.futures
import contextlib
import hashlib
import os
import socket

import pytest

from tests.lab import frames, guest

SIZE = 8 << 20
PORT = 5001
WIRE, HOST = "10.0.0.254", "10.0.0.253"
# Bits of virtio-net's feature word, and what the guest loses without them.
STOCK_FEATURES = {0: "CSUM", 1: "GUEST_CSUM", 7: "GUEST_TSO4", 11: "HOST_TSO4", 15: "MRG_RXBUF"}


@pytest.fixture(scope="module", autouse=True)
def image():
    """Downloads and builds what the guests boot, once, before any daemon runs."""
    try:
        guest.image()
    except guest.Unavailable as reason:
        pytest.skip(str(reason))


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


def checksum(vm, path):
    return vm.run(f"sha256sum {path}").output.split()[0]


def make_file(vm):
    vm.run(f"dd if=/dev/urandom of=/tmp/file bs=1M count={SIZE >> 20} 2>/dev/null")
    return checksum(vm, "/tmp/file")


def ping(vm, address):
    output = vm.run(f"ping -c 5 -W 5 {address}").output
    assert " 0% packet loss" in output, output


@contextlib.contextmanager
def accepting(namespace, serve):
    """A TCP server in `namespace` for one connection; yields the Future of serve(connection)."""
    with namespace.entered():
        server = socket.create_server(("0.0.0.0", PORT))
    server.settimeout(60)

    def work():
        with server.accept()[0] as connection:
            connection.settimeout(60)
            return serve(connection)

    with server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


def digest_of(connection):
    digest, length = hashlib.sha256(), 0
    while data := connection.recv(1 << 16):
        digest.update(data)
        length += len(data)
    return digest.hexdigest(), length


def exchange(vm, namespace, address):
    """A file from the guest to `namespace`, and another one back."""
    with accepting(namespace, digest_of) as received:
        expected = make_file(vm)
        vm.run(f"nc {address} {PORT} </tmp/file", timeout=120)
        assert received.result(timeout=60) == (expected, SIZE), "guest -> namespace"
    content = os.urandom(SIZE)
    with accepting(namespace, lambda connection: connection.sendall(content)):
        vm.run(f"nc {address} {PORT} </dev/null >/tmp/back", timeout=120)
    assert checksum(vm, "/tmp/back") == hashlib.sha256(content).hexdigest(), "namespace -> guest"


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
        for sender, receiver, address in ((first, second, "10.0.0.2"), (second, first, "10.0.0.1")):
            expected = make_file(sender)
            # Its input stays open: nc would end the connection with it.
            receiver.run(f"(sleep 200 | nc -l -p {PORT} >/tmp/received) & sleep 1")
            sender.run(f"nc {address} {PORT} </tmp/file", timeout=120)
            assert checksum(receiver, "/tmp/received") == expected
