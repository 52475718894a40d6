"""The systems under test: vmqd, the Linux bridge, and Open vSwitch where it is installed.

Each is driven by the verbs of System, from one thread. What must stay true: all of them get the same
devices, know the same addresses beforehand (nothing is flooded, nothing has to be learnt), and what
they start ends with stop().
"""

import os
import pathlib
import shutil
import subprocess

from tests.bench.e2e.world import WIRE
from tests.bench.processes import Broken
from tests.lab import frames
from tests.lab.api import Client, messages
from tests.lab.endpoints import wait_until
from tests.lab.namespaces import run

MANY_PORTS = 200     # from here on vmqd gets more buffers
MANY_BUFFERS = 65536  # a queue


class System:
    NAME = ""
    KINDS = ()

    def __init__(self, world):
        self.world, self.host = world, world.host

    @classmethod
    def missing(cls):
        """Why it cannot be measured here, or None."""
        return None

    def start(self):
        """Runs, with the NIC attached."""

    def add(self, number, kind):
        """VM `number` is on the switch, or is once settle() returns."""
        raise NotImplementedError

    def remove(self, number):
        raise NotImplementedError

    def settle(self):
        """Returns when every VM is reachable."""

    def pids(self):
        """Processes that work for it, kernel threads included."""
        return []

    def check(self):
        """Fails if the system itself finds that frames are missing."""

    def stop(self):
        """Also after a start that failed."""


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


class OpenVswitch(System):
    """The netdev datapath, for want of its module: AF_XDP on NIC and veths, its own way on taps."""
    NAME, KINDS = "ovs", ("veth", "tap")
    SWITCH, DATABASE = "ovs-vswitchd", "ovsdb-server"
    SCHEMA = pathlib.Path("/usr/share/openvswitch/vswitch.ovsschema")

    @classmethod
    def missing(cls):
        there = all(shutil.which(name) for name in (cls.SWITCH, cls.DATABASE, "ovs-vsctl"))
        return None if there and cls.SCHEMA.exists() else "Open vSwitch is not installed"

    def __init__(self, world):
        super().__init__(world)
        self.folder = pathlib.Path(world.lab.directory)
        self.processes = []
        self.environment = os.environ | {f"OVS_{name}": str(self.folder) for name in
                                         ("RUNDIR", "DBDIR", "LOGDIR", "SYSCONFDIR")}

    def _call(self, *words):
        return run(*words, env=self.environment).stdout

    def _set(self, *words):
        return self._call("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", "--timeout=20", *words)

    def _launch(self, *words):
        with open(self.folder / "ovs.log", "a") as log:
            self.processes.append(subprocess.Popen([str(word) for word in words], stdout=log,
                                                   stderr=log, stdin=subprocess.DEVNULL,
                                                   env=self.environment))

    def start(self):
        self._call("ovsdb-tool", "create", self.folder / "conf.db", self.SCHEMA)
        self._launch(self.DATABASE, self.folder / "conf.db",
                     f"--remote=punix:{self.folder}/db.sock", f"--unixctl={self.folder}/db.ctl")
        wait_until((self.folder / "db.sock").exists, 10, what="ovsdb-server")
        mask = hex(sum(1 << int(cpu) for cpu in self.world.setup.processors.split(",")))
        self._set("--no-wait", "init", "--", "set", "Open_vSwitch", ".",
                  f"other_config:pmd-cpu-mask={mask}")
        self._launch(*self.host.command(self.SWITCH, f"unix:{self.folder}/db.sock",
                                        f"--unixctl={self.folder}/vs.ctl"))
        self.host.plugged |= {"br0", "ovs-netdev"}
        self._set("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        self._attach("nic0", WIRE, "veth" if self.world.setup.nic == "veth" else "tap")

    def _attach(self, device, address, kind):
        words = ["add-port", "br0", device]
        if kind == "veth" and self.world.setup.mtu <= 1500:
            words += ["--", "set", "Interface", device, "type=afxdp", "options:n_rxq=1",
                      "options:xdp-mode=native"]
        self._set(*words)
        error = self._set("--if-exists", "get", "Interface", device, "error").strip()
        if error not in ("[]", ""):
            raise Broken(f"ovs: {device}: {error}")
        self._call("ovs-appctl", "-t", self.folder / "vs.ctl", "fdb/add", "br0", device, "0",
                   frames.vm_mac(address))
        self._call("ovs-ofctl", "mod-port", "br0", device, "no-flood")

    def add(self, number, kind):
        if kind == "tap":
            self.world.open_tap(number)
        self._attach(f"vm{number}", number, kind)

    def remove(self, number):
        self._set("del-port", "br0", f"vm{number}")

    def pids(self):
        return [process.pid for process in self.processes if process.poll() is None]

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


SYSTEMS = {system.NAME: system for system in (Vmqd, Bridge, ThreadedBridge, OpenVswitch)}
DEFAULT = ("vmqd", "bridge", "ovs")
