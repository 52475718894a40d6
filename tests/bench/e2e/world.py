"""One switch under test with all that is plugged into it: a wire, a NIC, and VMs.

    wire0 - nic0 | switch | vm1 - eth1, a tap, or virtqueues

Every system under test has a World of its own and of the same make, in namespaces of its own; all are
up at once and stopped but one. VM number N has address N (load.h): MAC 02:00:00:00 and N's two bytes.
What must stay true: close() undoes everything, pass or fail.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal

from tests.bench.processes import EDGE_CPU, HELPERS, SWITCH_CPU, Helper
from tests.lab.lab import Lab
from tests.lab.namespaces import make_veth

WIRE = 0xFFFE  # its address
WIRE_END = 0   # its number among the ends; VM N's end is N
LONGEST_IN_KERNEL = 1514  # what vmqd_bench_traffic sends


@dataclasses.dataclass(frozen=True)
class Setup:
    kinds: tuple       # "veth", "tap" or "vhost" of VM 1, 2, ...
    nic: str = "veth"  # or "tap": has queues, which the wire chooses by the receiver's address
    queues: int = 1
    mtu: int = 1500
    processors: str = str(SWITCH_CPU)  # where the switch's threads run


@dataclasses.dataclass(frozen=True)
class Load:
    """What load.h says; addresses as there. rate 0: as fast as it goes."""
    source: int
    target: int
    size: int = 64  # 0: IMIX
    rate: int = 0
    ports: int = 1
    flows: int = 64
    probe_each: int = 0

    def words(self):
        return (self.source, self.target, self.ports, self.flows, self.size, int(self.rate),
                self.probe_each)


class World:
    """`traffic` is the helper for veth ends, of all worlds."""

    def __init__(self, stack, traffic, system, setup):
        self.traffic, self.setup, self.name = traffic, setup, system.NAME
        self.lab = Lab()
        stack.callback(self.lab.close)
        self.host = self.lab.host
        pinned = ("-c", EDGE_CPU) if setup.processors == str(SWITCH_CPU) else ()
        self.ends = Helper(HELPERS / "vmqd_bench_ends", *pinned)
        stack.callback(self.ends.close)
        self.wire = self.lab.namespace("wire", ipv6=False)
        self.vms = self.lab.namespace("vms", ipv6=False)
        self._make_nic()
        self.system = system(self)
        stack.callback(self._end_system)
        self.system.start()
        for number, kind in enumerate(setup.kinds, 1):
            self.prepare(number, kind)
            self.system.add(number, kind)
        self.system.settle()
        self._sender = None  # an end, or the one in the kernel
        self._signal(signal.SIGSTOP)

    def _make_nic(self):
        self.host.plugged.add("nic0")
        if self.setup.nic == "tap":
            self.ends.ask("nic", WIRE_END, self.host.name, "nic0", self.setup.queues)
            self.host.ip("link", "set", "nic0", "up", "mtu", self.setup.mtu)
            return
        self._pair("nic0", "wire0", self.wire, self.setup.queues)
        self.traffic.ask("sink", self.wire.name, "wire0")
        if self.setup.mtu > 1500:
            self.ends.ask("packet", WIRE_END, self.wire.name, "wire0")

    def _pair(self, near, far, namespace, queues=1):
        self.host.plugged.add(near)
        make_veth(self.host, near, far, queues, namespace)
        for where, device in ((self.host, near), (namespace, far)):
            where.ip("link", "set", device, "mtu", self.setup.mtu)
        # NAPI, as on a NIC; and no skb of a socket passes it by.
        self.host.run("ethtool", "-K", near, "gro", "on")
        namespace.run("ethtool", "-K", far, "tso", "off")

    # --- VMs

    def prepare(self, number, kind):
        """What a VM brings along before it is on the switch."""
        if kind == "veth":
            self._pair(f"vm{number}", f"eth{number}", self.vms)
            self.traffic.ask("sink", self.vms.name, f"eth{number}")
            if self.setup.mtu > 1500:
                self.ends.ask("packet", number, self.vms.name, f"eth{number}")

    def open_tap(self, number):
        """The VM opens its tap, and makes it if it is not there."""
        self.host.plugged.add(f"vm{number}")
        self.ends.ask("tap", number, self.host.name, f"vm{number}")
        self.host.ip("link", "set", f"vm{number}", "up", "mtu", self.setup.mtu)

    def open_rings(self, number, path):
        self.ends.ask("vhost", number, path, int(self.setup.mtu > 1500))

    # --- traffic

    def sender_kind(self, load):
        """Of end, as vmqd_bench_ends calls them, or "veth" for the sender in the kernel."""
        kind = self.setup.nic if load.source == WIRE else self.setup.kinds[load.source - 1]
        return "packet" if kind == "veth" and load.size > LONGEST_IN_KERNEL else kind

    def send(self, load):
        """Starts; quiet() ends it."""
        kind = self.sender_kind(load)
        if kind == "veth":
            where = ((self.wire.name, "wire0") if load.source == WIRE
                     else (self.vms.name, f"eth{load.source}"))
            self.traffic.ask("send", *where, *load.words())
            self._sender = None
        else:
            self._sender = WIRE_END if load.source == WIRE else load.source
            self.ends.ask("send", self._sender, *load.words())

    def quiet(self):
        if self._sender is None:
            self.traffic.ask("stop")
        else:
            self.ends.ask("quiet", self._sender)

    def counts(self):
        """([sent, received, ns] in the kernel, the same at the ends)."""
        return [[got["sent"], got["pkts"], got["at"]]
                for got in (self.traffic.ask("counts"), self.ends.ask("counts"))]

    def round_trips(self):
        """{bucket: count} since the last time."""
        whole = {}
        for helper in (self.traffic, self.ends):
            for bucket, count in helper.ask("round_trips").items():
                if count:
                    whole[int(bucket)] = whole.get(int(bucket), 0) + int(count)
        return whole

    # --- whose turn it is

    @contextlib.contextmanager
    def running(self):
        """The switch and its ends run; those of all other worlds do not."""
        self._signal(signal.SIGCONT)
        self.ends.ask("watch")
        try:
            yield
        finally:
            self.ends.ask("rest")
            self._signal(signal.SIGSTOP)

    def _signal(self, which):
        for pid in self.system.pids():
            if pathlib.Path(f"/proc/{pid}/exe").exists():  # a thread of the kernel has none
                os.kill(pid, which)

    def _end_system(self):
        with contextlib.suppress(ProcessLookupError):
            self._signal(signal.SIGCONT)
        self.system.stop()
