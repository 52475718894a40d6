"""What the benchmarks measure with: the helper programs behind pipes, CPU time, and samples.

Used by the thread of tests/bench/run. What must stay true: every process started here ends with its
stack, and a process that was stopped runs again before it is told to end.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import statistics
import subprocess
import time

from tests.lab.vmqd import BUILD

EDGE_CPU, SWITCH_CPU = 0, 1  # everything outside the switch; the worker
HELPERS = BUILD / "tests" / "bench"


class Broken(Exception):
    """A figure cannot be measured: something does not work. Not: something is slow."""


@dataclasses.dataclass
class Figure:
    name: str
    value: float
    unit: str
    bound: float | None  # None: said for comparison, nothing is asked of it
    at_least: bool = False  # the bound is a lower one
    note: str = ""
    samples: dict = dataclasses.field(default_factory=dict)

    @property
    def reached(self):
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Helper:
    """One of the programs of tests/: a line in, a line out."""

    def __init__(self, *command, namespace=None):
        words = [str(word) for word in command]
        self.name = pathlib.Path(words[0]).name
        self.process = subprocess.Popen(namespace.command(*words) if namespace else words,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        bufsize=1)
        answer = self.process.stdout.readline().strip()
        if answer != "ready":
            self.close()
            raise Broken(f"{self.name} did not start: {answer}")

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")

    def answer(self):
        """{name: number} of the answer's pairs of words; {} for "ok"."""
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("error"):
            raise Broken(f"{self.name}: {line or 'ended'}")
        words = line.split()
        return {} if line == "ok" else dict(zip(words[::2], map(float, words[1::2])))

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def traffic(stack):
    helper = Helper(HELPERS / "vmqd_bench_traffic", "-c", EDGE_CPU)
    stack.callback(helper.close)
    return helper


@contextlib.contextmanager
def running(process):
    """The stopped process runs for as long as the context lasts."""
    process.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def pinned(cpu):
    """The calling thread, and what it starts, stays on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pids):
    """CPU time of all threads that some processes have now, to the nanosecond."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread has ended meanwhile
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def idle_shares(pid, looks, seconds, name, say):
    """What a process uses of a CPU, in percent, over so many seconds, each of `looks` times."""
    shares = []
    for _ in range(looks):
        before, start = cpu_seconds([pid]), time.monotonic()
        time.sleep(seconds)
        used = cpu_seconds([pid]) - before
        shares.append(100 * used / (time.monotonic() - start))
        say(f"{name}: {shares[-1]:.3f} % of a CPU over {seconds} s")
    return shares


def wired_nic(stack, lab):
    """nic0 in the lab's host, and who sends on its wire; the CPU is the generator's."""
    lab.host.plugged |= {"nic0", "wire0"}
    nic = Helper(BUILD / "tests" / "lab" / "vmqd_lab_nic", "-c", EDGE_CPU, "nic0", 1, "wire0",
                 namespace=lab.host)
    stack.callback(nic.close)
    lab.host.up("nic0")
    return nic


def process_seconds(pids):
    """CPU time of some processes so far, threads that have ended included; in ticks of 10 ms."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime, stime
    return ticks / os.sysconf("SC_CLK_TCK")


def ksoftirqds():
    """Where softirqs of a busy CPU run; their time belongs to whoever caused it."""
    found = []
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text().startswith("ksoftirqd/"):
                found.append(int(comm.parent.name))
    return found


def busy_seconds():
    """Time that the two CPUs of the measurement were not idle so far, in ticks of 10 ms."""
    total = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name in (f"cpu{EDGE_CPU}", f"cpu{SWITCH_CPU}"):
            total += sum(map(int, ticks[:8])) - int(ticks[3]) - int(ticks[4])
    return total / os.sysconf("SC_CLK_TCK")


class Bystanders:
    """How much of both CPUs somebody else used, as a share of one CPU."""

    def __init__(self, pids):
        self.pids = pids
        self.start, self.busy, self.own = time.monotonic(), busy_seconds(), process_seconds(pids)

    def share(self):
        others = busy_seconds() - self.busy - (process_seconds(self.pids) - self.own)
        return others / (time.monotonic() - self.start)


def median(values):
    return statistics.median(values)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
