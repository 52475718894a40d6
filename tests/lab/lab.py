"""Lab: one test's world. A host namespace, the daemon in it, and everything that is plugged in.

Each system test has a Lab of its own (fixture `lab`), so tests run in parallel and in any order.
Used by the thread of the test. What must stay true: close() undoes everything, in the reverse order
of making, pass or fail; finish() first checks that the daemon accounts for every frame and ends
orderly.
"""

import contextlib
import os
import shutil
import tempfile

from tests.lab import frames, guest
from tests.lab.api import Client, messages
from tests.lab.endpoints import Inbox, Nic, PacketVm, TapVm, wait_until
from tests.lab.namespace_vm import NamespaceVm, power_on
from tests.lab.namespaces import Namespace, make_veth, run
from tests.lab.vmqd import Daemon, conservation, drops

HOST_MAC = "02:00:00:00:ff:01"
WIRE_MAC = "02:00:00:00:ff:02"  # somebody out there, behind the NIC


class Lab:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="vq-")
        self.stack = contextlib.ExitStack()
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        bpf = os.path.join(self.directory, "bpf")
        os.mkdir(bpf)
        run("mount", "-t", "bpf", "bpf", bpf)
        self.stack.callback(run, "umount", bpf, check=False)
        self.inbox = Inbox()
        self.stack.callback(self.inbox.close)
        self.conserves = True  # a test that kills the daemon or leaves traffic on says otherwise
        self.daemon = None
        self.namespaces = []
        self.host = self.namespace("host", ipv6=False)
        self.host.plugged, self.host.foreign_xdp = set(), set()

    # --- what is there before the daemon

    def namespace(self, role, ipv6=True):
        self.namespaces.append(self.stack.enter_context(Namespace(role, ipv6)))
        return self.namespaces[-1]

    def nic(self, name="nic0", queues=4, mac=HOST_MAC):
        """The NIC stand-in, in the host namespace; the test is its wire."""
        self.host.plugged.add(name)
        nic = Nic(self.inbox, self.host, name, queues)
        self.host.ip("link", "set", name, "address", mac)
        self.stack.callback(nic.close)
        return nic

    def wire(self, device="eth1", queues=4, address="10.0.0.254/24", ipv6="fd00::fe/64"):
        """A namespace at the far end of a veth with `queues` queues and default offloads."""
        wire = self.namespace("wire")
        self.host.plugged.add(device)
        make_veth(self.host, device, "wire0", queues, wire)
        wire.address("wire0", address, ipv6)
        return wire

    # --- the daemon and its ports

    def start(self, *arguments, uplink=None, **environment):
        """Starts vmqd; with `uplink`, also attaches that device."""
        self.daemon = Daemon(self.host, self.directory, *arguments, environment=environment)
        self.stack.callback(self._end_daemon)
        self.daemon.start()
        if uplink:
            self.cli("uplink", "add", uplink)
        return self.daemon

    def cli(self, *words):
        return self.daemon.cli(*words)

    def call(self, *words, **kwargs):
        return self.daemon.call(*words, **kwargs)

    def tap_vm(self, name, mac=None, *options, offloads=0, reading=True):
        """A tap port and the VM that opened it. The device has the port's name."""
        mac = mac or frames.vm_mac(len(self.host.plugged) + 1)
        self.cli("port", "add", name, "--tap", name, "--mac", mac, *options)
        vm = TapVm(self.inbox, self.host, name, mac, offloads, reading)
        self.stack.callback(vm.close)
        self.wait_up(name)
        return vm

    def wait_up(self, port):
        """The kernel tells of a carrier some time after it is there."""
        with Client(self.daemon.address) as client:
            wait_until(lambda: client.GetPort(name=f"ports/{port}").oper_status == messages().UP,
                       what=f"port {port} up")

    def veth_vm(self, name, index, *options):
        """A VETH port whose peer is eth0 of a new namespace, with addresses ending in `index`."""
        vm = self.namespace(name)
        self.cli("port", "add", name, "--veth", f"{name},{name}-p", "--mac", frames.vm_mac(index),
                 *options)
        self.move_in(vm, name, f"{name}-p", index)
        return vm

    def netdev_vm(self, name, index, *options, queues=1):
        """A NETDEV port on a veth the test made, with default offloads on both ends."""
        vm = self.namespace(name)
        self.host.plugged.add(name)
        make_veth(self.host, name, f"{name}-p", queues)
        self.cli("port", "add", name, "--netdev", name, "--mac", frames.vm_mac(index), *options)
        self.move_in(vm, name, f"{name}-p", index)
        return vm

    def vhost_port(self, name, index, *options, listens=False, queues=1):
        """A vhost-user port; the path of its socket. `listens`: the VMM is the one who listens."""
        role = "vmm-listens" if listens else "switch-listens"
        pairs = ("--queue-pairs", queues) if queues > 1 else ()
        self.cli("port", "add", name, "--vhost-user", f"{name}.sock", "--vhost-role", role,
                 "--mac", frames.vm_mac(index), *pairs, *options)
        return str(self.daemon.sockets / f"{name}.sock")

    def vhost_vm(self, name, index, *options, **how):
        """A vhost-user port and the namespace behind it, as veth_vm; .testpmd is in between."""
        return self.vhost_vms({name: index}, *options, **how)[0]

    def vhost_vms(self, vms, *options, listens=False, queues=1, **how):
        """Several of them, {name: index}, that share one testpmd. `how` as power_on takes it."""
        made = []
        for name, index in vms.items():
            socket = self.vhost_port(name, index, *options, listens=listens, queues=queues)
            self.host.plugged.add(name)
            made.append(NamespaceVm(name, self.namespace(name), socket, frames.vm_mac(index)))
        testpmd = power_on(self.host, self.directory, made, queues=queues, listens=listens, **how)
        self.stack.callback(testpmd.close)
        for vm, index in zip(made, vms.values()):
            vm.namespace.testpmd = testpmd
            vm.namespace.address("eth0", f"10.0.0.{index}/24", f"fd00::{index:x}/64")
            self.wait_up(vm.name)
        return [vm.namespace for vm in made]

    def vhost_guest(self, name, index, *options, listens=False, queues=1, device=(), **how):
        """A vhost-user port and a real VM on it, booting. It has address 10.0.0.<index>."""
        socket = self.vhost_port(name, index, *options, listens=listens, queues=queues)
        return self.boot(guest.Vhost(socket, listens, queues, device), index, **how)

    def boot(self, network, index, **how):
        """Switches a real VM on, with address 10.0.0.<index>; its wait_for_boot() is not called."""
        vm = guest.Guest(self.host, network, frames.vm_mac(index),
                         address=f"10.0.0.{index}/24", **how)
        self.stack.callback(vm.close)
        return vm

    def move_in(self, vm, port, device, index):
        """What a container runtime does with the end it is given."""
        self.host.ip("link", "set", device, "netns", vm.name, "name", "eth0")
        vm.ip("link", "set", "eth0", "address", frames.vm_mac(index))
        vm.up("eth0")
        vm.address("eth0", f"10.0.0.{index}/24", f"fd00::{index:x}/64")
        self.wait_up(port)

    def host_port(self, name="vhost0", index=253, *options):
        """The host's own port on the switch; its interface is `name` in the host namespace."""
        self.cli("port", "add", "host", "--host", name, "--mac", frames.vm_mac(index), *options)
        self.host.address(name, f"10.0.0.{index}/24")
        return self.host

    def packet(self, namespace, device="eth0", mac=None):
        """Raw frames in and out of an interface."""
        endpoint = PacketVm(self.inbox, namespace, device, mac)
        self.stack.callback(endpoint.close)
        return endpoint

    # --- what it counted

    def drops(self, resource, name, direction):
        counters = self.cli(resource, "show", name).get("counters", {})
        return drops(counters, direction)

    def conservation(self):
        return conservation(self.daemon)

    # --- the end

    def finish(self):
        """After a test that passed: nothing is lost unnamed, and the daemon ends orderly."""
        if not self.daemon or self.daemon.process.poll() is not None:
            return
        if self.conserves:
            self.conservation()
        self.daemon.stop()
        self.daemon.cleanup()

    def _end_daemon(self):
        if self.daemon.process and self.daemon.process.poll() is None:
            self.daemon.kill()

    def close(self):
        self.stack.close()

    def describe(self):
        """For a test that paused: how to look around."""
        lines = [f"  directory      {self.directory}"]
        lines += [f"  enter          nsenter --net=/run/netns/{namespace.name}"
                  for namespace in self.namespaces]
        if self.daemon:
            lines.append(f"  daemon         pid {self.daemon.pid}, log {self.daemon.log_path}")
            lines.append(f"  ask it         vmqd-cli --address {self.daemon.address} port list")
        return "\n".join(lines)
