"""Two workers on two CPUs against one on one CPU.

A generator would need a CPU that the second worker has, so none runs while it counts: vmqd is
stopped, the NIC stand-in writes as many frames as the receive rings hold, vmqd goes on, and the
VMs' ends note when the first and when the last frame arrived. What is timed is the workers' own
work: receive, forward, the transmit call, the VM's softirq on the same CPU, and giving buffers back.
Both CPUs serve a queue and equal VMs; "one" is the mean of either queue alone, "two" both at once
with twice the frames, so that each worker has the same work in all three.
"""

import contextlib
import os
import time

from tests.bench.processes import Broken, Figure, median, traffic
from tests.lab import frames
from tests.lab.lab import Lab
from tests.lab.namespaces import make_veth

BURSTS = (1000, 500, 240, 240)  # frames for the 1st.. VM of a queue; vmqd gives rings of 1024, 512..
DRAINS = 20  # of each kind in a round
SETTLE, PATIENCE = 0.03, 5
CASES = {"queue 0": (0,), "queue 1": (1,), "both": (0, 1)}
BOUND = 1.7


class Setting:
    def __init__(self, stack):
        self.lab = Lab()
        stack.callback(self.lab.close)
        self.nic = self.lab.nic("nic0", queues=2)
        self.edge = traffic(stack)
        self.daemon = self.lab.start("--processor-set", "0,1", uplink="nic0")
        self.loads = {0: [], 1: []}
        for place, burst in enumerate(BURSTS):
            for queue in self.loads:
                self.add_vm(place * 2 + queue, queue, burst)

    def add_vm(self, index, queue, burst):
        name, mac = f"vm{index}", frames.vm_mac(index + 1)
        vm = self.lab.namespace(name, ipv6=False)
        self.lab.host.plugged.add(name)
        make_veth(self.lab.host, name, "eth0", 1, vm)
        self.lab.cli("port", "add", name, "--netdev", name, "--mac", mac, "--queue", queue)
        self.lab.wait_up(name)
        self.edge.ask("sink", vm.name, "eth0")
        packet = frames.ipv4("198.18.0.1", "198.19.0.1", frames.UDP,
                             frames.udp("198.18.0.1", "198.19.0.1", 1024, 9, bytes(22)))
        self.loads[queue].append((frames.ether(mac, "02:00:00:00:ff:fe", frames.ETH_IPV4, packet),
                                  burst))

    def drain(self, queues):
        """Frames a second from the first to the last delivery; and how many were lost."""
        with self.daemon.paused():
            sent = self.fill(queues)
            self.edge.ask("reset")
        got = self.settled()
        if got["pkts"] < 2:
            raise Broken("workers: frames waited in the rings, and none was delivered")
        return (got["pkts"] - 1) / (got["last"] - got["first"]) * 1e9, sent - got["pkts"]

    def settled(self):
        """The counts once nothing arrives any more; a virtual machine may be stopped for a while."""
        deadline = time.monotonic() + PATIENCE
        got = {"pkts": 0}
        while time.monotonic() < deadline:
            time.sleep(SETTLE)
            before, got = got["pkts"], self.edge.ask("counts")
            if got["pkts"] > 1 and got["pkts"] == before:
                break
        return got

    def fill(self, queues):
        sent = 0
        for queue in queues:
            for frame, burst in self.loads[queue]:
                for _ in range(burst):
                    os.write(self.nic.descriptors[queue], frame)
                sent += burst
        return sent


def figures(rounds, say):
    with contextlib.ExitStack() as stack:
        setting = Setting(stack)
        time.sleep(0.5)
        for queues in CASES.values():  # the first frames touch memory for the first time
            setting.drain(queues)
        rates = {case: [] for case in CASES}
        ratios, lost = [], 0
        for number in range(rounds):
            drains = {case: [] for case in CASES}
            for _ in range(DRAINS):
                for case, queues in CASES.items():
                    rate, missing = setting.drain(queues)
                    drains[case].append(rate)
                    lost += missing
            for case in CASES:
                rates[case].append(median(drains[case]))
            one = (rates["queue 0"][-1] + rates["queue 1"][-1]) / 2
            ratios.append(rates["both"][-1] / one)
            say(f"workers: round {number + 1} of {rounds}: "
                + ", ".join(f"{case} {values[-1] / 1e6:.2f}" for case, values in rates.items())
                + f" Mpps, ratio {ratios[-1]:.2f}")
        each = ", ".join(f"{case} {median(values) / 1e6:.2f}" for case, values in rates.items())
        return [Figure("two workers / one", median(ratios), "x", BOUND, at_least=True,
                       note=f"{each} Mpps, rounds {min(ratios):.2f}-{max(ratios):.2f}; "
                            f"{lost:.0f} frames lost; rings filled beforehand, no generator runs",
                       samples={"ratio": ratios, "pps": rates})]
