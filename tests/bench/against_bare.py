"""wire -> VM through vmqd's sockets, against the least an AF_XDP program can do on such devices.

Every candidate has a wire, a NIC and a VM of its own, all of one make; all are up and stopped but
one, and half-second windows go round them, so that neighbours in time are compared. CPU 0 sends,
counts, and pays for the NIC's softirq, its XDP program and the copy into the receive ring; CPU 1
runs the forwarding thread, which pays for the transmit call and the VM's softirq.
"""

import contextlib
import time

from tests.bench.processes import (HELPERS, SWITCH_CPU, Broken, Bystanders, Figure, Helper,
                                   ksoftirqds, median, running, traffic)
from tests.lab import frames
from tests.lab.lab import Lab
from tests.lab.namespaces import make_veth

SIZES = (64, 512, 1514)  # bytes in memory, without FCS
WARM_UP, WINDOW = 0.2, 0.5
ATTEMPTS = 3  # at a window that somebody else disturbed
QUIET = 0.15  # of one CPU: what others may use in a window that counts as undisturbed
MAC = frames.vm_mac(11)
BOUND = 0.9


class Candidate:
    """wire0 - nic0 | forwarder | vm0 - eth0, in namespaces of its own."""

    def __init__(self, stack, name):
        self.name = name
        self.lab = Lab()
        stack.callback(self.lab.close)
        host = self.lab.host
        self.wire = self.lab.namespace("wire", ipv6=False)
        self.vm = self.lab.namespace("vm", ipv6=False)
        host.plugged |= {"nic0", "vm0"}
        make_veth(host, "nic0", "wire0", 1, self.wire)
        make_veth(host, "vm0", "eth0", 1, self.vm)
        host.run("ethtool", "-K", "nic0", "gro", "on")  # NAPI, as on a NIC
        self.process = self.start(stack)

    def start(self, stack):
        options = ["-w"] if self.name.endswith("sleeping") else []
        helper = Helper("/usr/bin/taskset", "-c", SWITCH_CPU, HELPERS / "vmqd_bench_bare_loop",
                        *options, "nic0", "vm0", namespace=self.lab.host)
        stack.callback(helper.process.wait)
        stack.callback(helper.process.kill)  # it ends no other way
        return helper.process


class VmqdCandidate(Candidate):
    def start(self, stack):
        daemon = self.lab.start("--processor-set", SWITCH_CPU, uplink="nic0")
        self.lab.cli("port", "add", "vm", "--netdev", "vm0", "--mac", MAC)
        self.lab.wait_up("vm")
        return daemon.process


def window(candidate, edge, size, softirqs):
    """(frames a second, share of a CPU others used)."""
    with running(candidate.process):
        time.sleep(0.05)
        bystanders = Bystanders([candidate.process.pid, edge.process.pid, *softirqs])
        got = edge.ask("flood", candidate.wire.name, "wire0", MAC, size, WARM_UP, WINDOW)
        return got["pkts"] / got["seconds"], bystanders.share()


def measure(candidate, edge, size, softirqs):
    """The first undisturbed window, or the least disturbed one."""
    tries = []
    for _ in range(ATTEMPTS):
        tries.append(window(candidate, edge, size, softirqs))
        if tries[-1][1] <= QUIET:
            break
    return min(tries, key=lambda item: item[1])


def figures(rounds, say):
    with contextlib.ExitStack() as stack:
        edge = traffic(stack)
        candidates = [VmqdCandidate(stack, "vmqd"), Candidate(stack, "bare, spinning"),
                      Candidate(stack, "bare, sleeping")]
        for candidate in candidates:
            edge.ask("sink", candidate.vm.name, "eth0")
            with running(candidate.process):
                pass
        softirqs = ksoftirqds()
        samples = {(candidate.name, size): [] for candidate in candidates for size in SIZES}
        disturbed = 0
        for number in range(rounds):
            for size in SIZES:
                for candidate in candidates:
                    pps, others = measure(candidate, edge, size, softirqs)
                    if not pps:
                        raise Broken(f"{candidate.name}: no frame of {size} bytes arrived")
                    disturbed += others > QUIET
                    samples[candidate.name, size].append(pps)
            say(f"bare: round {number + 1} of {rounds}: "
                + ", ".join(f"{name} {values[-1] / 1e6:.2f}" for (name, size), values
                            in samples.items() if size == 64) + " Mpps at 64 bytes")
        return compare(candidates, samples, disturbed)


def compare(candidates, samples, disturbed):
    found = []
    windows = sum(map(len, samples.values()))
    for size in SIZES:
        own = samples[candidates[0].name, size]
        for other in candidates[1:]:
            ratios = [a / b for a, b in zip(own, samples[other.name, size])]
            found.append(Figure(
                f"vmqd / {other.name}, {size} B", median(ratios), "x", BOUND, at_least=True,
                note=f"{median(own) / 1e6:.2f} / {median(samples[other.name, size]) / 1e6:.2f} Mpps,"
                     f" rounds {min(ratios):.2f}-{max(ratios):.2f}",
                samples={"ratio": ratios, "vmqd_pps": own, "bare_pps": samples[other.name, size]}))
    found[0].note += f"; {disturbed} of {windows} windows disturbed"
    return found
