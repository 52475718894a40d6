"""The systems under test: vmqd, the Linux bridge with and without a thread, Open vSwitch."""

import os
import pathlib

from tests.bench.e2e.openvswitch import OpenVswitch
from tests.bench.e2e.system import System
from tests.bench.e2e.world import WIRE
from tests.lab import frames
from tests.lab.api import Client, messages
from tests.lab.endpoints import wait_until
from tests.lab.namespaces import run

MANY_PORTS = 200     # from here on vmqd gets more buffers
MANY_BUFFERS = 32768  # a queue


class Vmqd(System):
    NAME, KINDS = "vmqd", ("veth", "tap", "vhost")

    def start(self):
        lab, setup = self.world.lab, self.world.setup
        lab.start("--processor-set", setup.processors)
        options = ["--steering", "external"] if setup.queues > 1 else []
        if len(setup.kinds) >= MANY_PORTS:
            options += ["--buffers", MANY_BUFFERS]
        lab.cli("uplink", "add", "nic0", "--balance", "static", *options)
        self.client = Client(lab.daemon.address)
        self.client.__enter__()

    def add(self, number, kind):
        name = f"vm{number}"
        kinds = {"veth": messages().NETDEV, "tap": messages().TAP, "vhost": messages().VHOST_USER}
        port = messages().Port(kind=kinds[kind], macs=[frames.vm_mac(number)])
        if kind == "vhost":
            port.socket = name
        else:
            port.device = name
        if self.world.setup.queues > 1:
            port.queue = number % self.world.setup.queues
        self.client.CreatePort(port_id=name, port=port)
        if kind == "tap":
            self.world.open_tap(number)
        if kind == "vhost":
            self.world.open_rings(number, self.world.lab.daemon.sockets / name)

    def remove(self, number):
        self.client.DeletePort(name=f"ports/vm{number}")

    def settle(self):
        for number in range(1, len(self.world.setup.kinds) + 1):
            wait_until(lambda name=f"ports/vm{number}":
                       self.client.GetPort(name=name).oper_status == messages().UP,
                       20, what=f"vm{number} up")

    def pids(self):
        return [self.world.lab.daemon.pid]

    def check(self):
        self.world.lab.conservation()

    def stop(self):
        if self.world.lab.daemon:
            self.world.lab._end_daemon()


class Bridge(System):
    """Its work is done in softirqs, where the frame comes in."""
    NAME, KINDS = "bridge", ("veth", "tap")

    def start(self):
        for which in ("iptables", "ip6tables", "arptables"):
            try:
                self.host.sysctl(f"net/bridge/bridge-nf-call-{which}", 0)
            except OSError:  # no br_netfilter in this kernel
                pass
        self.host.plugged.add("br0")
        self.host.ip("link", "add", "br0", "type", "bridge")
        self.host.ip("link", "set", "br0", "up", "mtu", self.world.setup.mtu)
        self._attach("nic0", WIRE)

    def _attach(self, device, address):
        self.host.ip("link", "set", device, "master", "br0")
        run("bridge", "-n", self.host.name, "fdb", "replace", frames.vm_mac(address), "dev", device,
            "master", "static")
        # What is for nobody yet goes to nobody: VMs count together.
        run("bridge", "-n", self.host.name, "link", "set", "dev", device, "flood", "off")

    def add(self, number, kind):
        if kind == "tap":
            self.world.open_tap(number)
        self._attach(f"vm{number}", number)

    def remove(self, number):
        self.host.ip("link", "set", f"vm{number}", "nomaster")


class ThreadedBridge(Bridge):
    """The same with the NIC's NAPI in a thread on the switch's CPU."""
    NAME = "bridge-thread"

    def start(self):
        super().start()
        run("ip", "netns", "exec", self.host.name, "sh", "-c",
            "echo 1 > /sys/class/net/nic0/threaded")
        self.threads = napi_threads("nic0") - self.before
        for thread in self.threads:
            os.sched_setaffinity(thread, {int(self.world.setup.processors)})

    def __init__(self, world):
        super().__init__(world)
        self.before, self.threads = napi_threads("nic0"), set()

    def pids(self):
        return sorted(self.threads)


def napi_threads(device):
    """Of all namespaces: their names say the device, not where it is."""
    found = set()
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith(f"napi/{device}-"):
                found.add(int(comm.parent.name))
        except OSError:
            pass
    return found


SYSTEMS = {system.NAME: system for system in (Vmqd, Bridge, ThreadedBridge, OpenVswitch)}
