"""Pings and files of real VMs (guest.Guest): to and from a namespace, and from one VM to another.

A file goes by TCP with the offloads the machine negotiated, and is compared by its SHA-256 with
what was sent. Used by the thread of a test.
"""

import concurrent.futures
import contextlib
import hashlib
import os
import re
import socket

from tests.lab.endpoints import wait_until

SIZE = 8 << 20
PORT = 5001


def ping(vm, address, count=5):
    output = vm.run(f"ping -c {count} -W 5 {address}").output
    assert " 0% packet loss" in output, output


def reach(vm, address, timeout=90):
    """Waits until one ping is answered: after something that takes its time to recover."""
    wait_until(lambda: not vm.run(f"ping -c 1 -W 1 {address}", check=False).code, timeout,
               what=f"an answer from {address}")


def checksum(vm, path):
    return re.search("[0-9a-f]{64}", vm.run(f"sha256sum {path}").output)[0]


def make_file(vm, size=SIZE):
    vm.run(f"dd if=/dev/urandom of=/tmp/file bs=1M count={size >> 20} 2>/dev/null")
    return checksum(vm, "/tmp/file")


def move(sender, receiver, address, size=SIZE):
    """A file from one VM to another, which has `address`."""
    expected = make_file(sender, size)
    # Its input stays open: nc would end the connection with it.
    receiver.run(f"rm -f /tmp/received; (sleep 200 | nc -l -p {PORT} >/tmp/received) & "
                 f"until netstat -ltn | grep -q :{PORT}; do sleep 0.1; done")
    sender.run(f"nc {address} {PORT} </tmp/file", timeout=120)
    wait_until(lambda: int(receiver.run("stat -c %s /tmp/received").output) >= size, 60, 0.2,
               what="the whole file")
    # What the shell says of a job that was ended comes some time later, among other output.
    receiver.run("killall sleep 2>/dev/null; wait")
    assert checksum(receiver, "/tmp/received") == expected


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


def exchange(vm, namespace, address, size=SIZE):
    """A file from the VM to `namespace`, which has `address`, and another one back."""
    with accepting(namespace, digest_of) as received:
        expected = make_file(vm, size)
        vm.run(f"nc {address} {PORT} </tmp/file", timeout=120)
        assert received.result(timeout=60) == (expected, size), "guest -> namespace"
    content = os.urandom(size)
    with accepting(namespace, lambda connection: connection.sendall(content)):
        vm.run(f"nc {address} {PORT} </dev/null >/tmp/back", timeout=120)
    assert checksum(vm, "/tmp/back") == hashlib.sha256(content).hexdigest(), "namespace -> guest"
