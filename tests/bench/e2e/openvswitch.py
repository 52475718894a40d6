"""Open vSwitch as a system under test, with a database and settings of its own."""

import os
import pathlib
import shutil
import subprocess

from tests.bench.e2e.system import System
from tests.bench.e2e.world import WIRE
from tests.bench.processes import Broken
from tests.lab import frames
from tests.lab.endpoints import wait_until
from tests.lab.namespaces import run


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
