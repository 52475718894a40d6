"""Faults at a chosen system call: strace records a good run, then fails one call, or kills there.

Used by the thread of the test, on daemons that the test started. What must stay true: a Tracer that
ended has let the daemon go, and a fault hits the same place as in the record, because calls are
counted as strace counts them: by name, in each thread, from the moment it was attached.
"""

import collections
import contextlib
import os
import re
import signal
import subprocess

from tests.lab.endpoints import wait_until

LINE = re.compile(r"^(?:(\d+) +)?(\w+)\((.*)$")  # without a number: only one thread is traced
Step = collections.namedtuple("Step", "task name number text")  # number: which of that name, from 1


CALLS = "grpcpp_sync_ser"  # the threads that take calls


class Tracer:
    """Context: strace is attached, with these options, to the threads of `process` that serve calls.
    The others, those of the transport and the workers, are no part of a call."""

    def __init__(self, process, output, *options):
        self.tasks = []
        for task in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(FileNotFoundError):  # gRPC ends threads that have no work
                with open(f"/proc/{process}/task/{task}/comm") as file:
                    if file.read().strip() == CALLS:
                        self.tasks.append(task)
        self.output = output
        self.process = process
        self.command = ["strace", "-qq", "-o", output, *options]
        for task in self.tasks:
            self.command += ["-p", task]

    def __enter__(self):
        self.strace = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        wait_until(self._attached, 20, 0.002, what="strace attached")
        return self

    def _attached(self):
        assert self.strace.poll() is None, f"{self.command} ended with {self.strace.returncode}"
        for task in self.tasks:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{self.process}/task/{task}/status") as file:
                    if f"TracerPid:\t{self.strace.pid}\n" not in file.read():
                        return False
        return True

    def __exit__(self, *_):
        self.strace.send_signal(signal.SIGINT)
        try:
            self.strace.wait(20)
        except subprocess.TimeoutExpired:
            self.strace.kill()
            self.strace.wait()

    def steps(self):
        return steps(self.output)


def steps(path):
    """The calls of a record, in order."""
    counts, found = collections.Counter(), []
    with open(path, errors="replace") as file:
        for line in file:
            match = LINE.match(line)
            if not match:
                continue  # the second half of a call, a signal, an end
            task, name, text = match.groups()
            counts[task, name] += 1
            found.append(Step(int(task or 0), name, counts[task, name], text.rstrip()))
    return found


def of_task_with(found, name):
    """The steps of the one thread that made a call of this name: the one that served the rpc."""
    tasks = {step.task for step in found if step.name == name}
    assert len(tasks) == 1, f"{name} in threads {tasks}"
    return [step for step in found if step.task in tasks]


def failing(step, error):
    """strace options: this call fails with `error`, and is not made."""
    return ("-e", f"trace={step.name}", "-e", f"inject={step.name}:error={error}:when={step.number}")


def killing(step):
    """strace options: the process dies before it makes this call."""
    return ("-e", f"trace={step.name}",
            "-e", f"inject={step.name}:error=EINTR:signal=SIGKILL:when={step.number}")


def spread(items, count):
    """At most `count` of the items, evenly from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[index * (len(items) - 1) // (count - 1)] for index in range(count)]


def descriptors(process):
    """What each file descriptor of a process is, counted; sockets and such by kind."""
    kinds = collections.Counter()
    for descriptor in os.listdir(f"/proc/{process}/fd"):
        try:
            target = os.readlink(f"/proc/{process}/fd/{descriptor}")
        except FileNotFoundError:
            continue
        kinds[re.sub(r":\[\d+\]$", "", target)] += 1
    return kinds


def resident(process):
    """Bytes of memory the process has."""
    with open(f"/proc/{process}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
