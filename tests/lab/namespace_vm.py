"""Namespaces as VMs: each has a network card, eth0, whose other side is a vhost-user front end.

eth0 is one end of a veth; testpmd passes every frame between its other end and a net_virtio_user
device, so a TCP stack and packet sockets work behind a virtqueue without a guest to boot. Used by
the thread of a test. One testpmd serves several VMs with one polling thread. What must stay true: a
frame goes through byte by byte; so neither end of a veth leaves a checksum or a cut to the other,
which a packet socket would pass on unfinished, and not say so. Two things cannot go through
net_af_packet: tagged frames, which lose their tag, and fragments of IP, which it has put together.
"""

import dataclasses

from tests.lab.namespaces import Namespace, make_veth
from tests.lab.testpmd import Testpmd, front_end, packet_device


@dataclasses.dataclass
class NamespaceVm:
    """`name` is also that of the near end of the veth, in the namespace that testpmd runs in."""

    name: str
    namespace: Namespace
    socket: str
    mac: str


def plug(host, vm, queues, mtu):
    """Makes eth0 of the VM."""
    make_veth(host, vm.name, f"{vm.name}-p", queues)
    host.ip("link", "set", f"{vm.name}-p", "netns", vm.namespace.name, "name", "eth0")
    vm.namespace.ip("link", "set", "eth0", "address", vm.mac)
    for namespace, device in ((host, vm.name), (vm.namespace, "eth0")):
        namespace.ip("link", "set", device, "mtu", mtu)
        namespace.run("ethtool", "-K", device, *"tx off tso off gso off gro off".split())
    vm.namespace.up("eth0")


def power_on(host, directory, vms, *, queues=1, mtu=1500, waiting=False, **front):
    """The testpmd that all of `vms` work by: ports 2i and 2i + 1 are front end and eth0 of VM i.

    `front` is what testpmd.front_end takes. With an MTU above 1500 every buffer holds the
    largest frame: the packet sockets cannot take one in parts.
    """
    devices = []
    for vm in vms:
        if vm.name not in host.links():  # it stays when the VM is switched off and on again
            plug(host, vm, queues, mtu)
        devices += [front_end(vm.socket, vm.mac, queues=queues, **front),
                    packet_device(vm.name, queues=queues, mtu=mtu)]
    room = 2048 if mtu <= 1500 else 16384
    return Testpmd(host, directory, devices, queues=queues, waiting=waiting, frame_room=room,
                   descriptors=front.get("queue_size", 256))
