"""The daemon under test and its command line client, as processes.

Used by the thread of a test. Binaries come from $VMQD_BUILD (default build/release). What must stay
true: a daemon that was started is stopped by SIGTERM, answers that with exit code 0, and leaves no
XDP program and no pin; `vmqd --cleanup` then leaves the namespace as it was found.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

from google.protobuf.json_format import MessageToDict

from tests.lab.api import Client
from tests.lab.endpoints import wait_until
from tests.lab.namespaces import CommandFailed, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VMQD_BUILD", ROOT / "build" / "release"))
VMQD, CLI = BUILD / "daemon" / "vmqd", BUILD / "client" / "vmqd-cli"
OK, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3


class Daemon:
    """vmqd in a namespace, on a socket of its own under `directory`."""

    def __init__(self, namespace, directory, *arguments, environment=None):
        self.namespace = namespace
        self.socket = pathlib.Path(directory) / "vmqd.sock"
        self.address = f"unix:{self.socket}"
        self.log_path = pathlib.Path(directory) / "vmqd.log"
        self.state = pathlib.Path(directory) / "state"
        self.sockets = pathlib.Path(directory) / "vhost"  # of vhost-user ports
        self.pins = pathlib.Path(directory) / "bpf" / "vmqd"  # on a bpf file system the lab mounted
        self.settings = pathlib.Path(directory) / "vmqd.yaml"
        self.settings.touch()
        self.arguments = arguments
        self.environment = os.environ | (environment or {})
        self.before = namespace.links()
        self.process = None

    def command(self, *words):
        """vmqd on this daemon's settings, state and pins."""
        return self.namespace.command(
            VMQD, "--config", self.settings, "--address", self.address, "--state-directory",
            self.state, "--bpf-directory", self.pins, "--vhost-directory", self.sockets,
            *self.arguments, *words)

    def launch(self, *wrapper):
        """The process, with `wrapper` (strace, setpriv) in front; whether it serves is not waited for."""
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([*map(str, wrapper), *self.command()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        return self

    def start(self, timeout=20):
        self.launch()

        def answers():
            if self.process.poll() is not None:
                raise CommandFailed(f"vmqd ended with {self.process.returncode}:\n{self.log()}")
            return self.call("switch", "show").returncode == OK

        wait_until(answers, timeout, 0.02, what="vmqd answering")
        return self

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def call(self, *words, output="json", timeout=60):
        """vmqd-cli with these words; CompletedProcess whatever the exit code."""
        return run(CLI, "--address", self.address, "-o", output, *words, check=False,
                   timeout=timeout)

    def cli(self, *words):
        """vmqd-cli that must succeed; its JSON."""
        done = self.call(*words)
        if done.returncode:
            command = " ".join(map(str, words))
            raise CommandFailed(f"vmqd-cli {command}: exit code {done.returncode}\n"
                                f"{done.stdout}{done.stderr}\n--- log\n{self.log()[-3000:]}")
        return json.loads(done.stdout) if done.stdout.strip() else {}

    @contextlib.contextmanager
    def paused(self):
        """The whole daemon stands still, so that what the kernel queues for it fills up."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            # A thread on another CPU runs on until it looks: the signal alone stops nothing yet.
            wait_until(lambda: all(_state(task) == "T" for task in self._tasks()),
                       what="every thread stopped")
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _tasks(self):
        return pathlib.Path(f"/proc/{self.pid}/task").iterdir()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout=60):
        """SIGTERM; fails unless the daemon ends orderly and leaves nothing behind."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"vmqd did not end within {timeout} s of SIGTERM\n"
                                 f"{self.log()[-3000:]}") from None
        assert code == 0, f"vmqd ended with {code}\n{self.log()[-5000:]}"
        self.check_programs()

    def cleanup(self):
        """`vmqd --cleanup`, and then nothing is left. What it printed."""
        done = run(*self.command("--cleanup"))
        self.check_programs()
        self.check_devices()
        return done.stdout

    def check_devices(self):
        """No device the daemon made is left in its namespace."""
        after = self.namespace.links()
        made = [name for name, link in after.items()
                if name not in self.before and link.get("linkinfo", {}).get("info_kind") in
                ("tun", "veth") and name not in self.namespace.plugged]
        assert not made, f"devices left behind: {made}"

    def check_programs(self):
        """No XDP program it attached is left in its namespace, and no pin of one."""
        pins = [pin.name for pin in self.pins.iterdir()] if self.pins.exists() else []
        assert not pins, f"pins left behind: {pins}"
        for name, link in self.namespace.links().items():
            had = "xdp" in self.before.get(name, {}) or name in self.namespace.foreign_xdp
            assert had or "xdp" not in link, f"XDP program left on {name}: {link['xdp']}"


def _state(task):
    """One letter, "T" for a thread that a signal stopped; task: its folder in /proc."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def number(message, field):
    return int(message.get(field, 0))


def drops(counters, direction):
    """{reason: frames} of one direction, "in" or "out"."""
    return {drop["reason"]: int(drop["pkts"]) for drop in counters.get(f"{direction}Drops", [])
            if int(drop["pkts"])}


def snapshot(client):
    """The counters of every uplink, every port and the switch: what conservation is about."""
    uplinks, ports = client.ListUplinks(), client.ListPorts()
    assert not uplinks.next_page_token and not ports.next_page_token, "more than one page"
    whole = MessageToDict(client.GetSwitch())
    replicated = {"replicatedPkts": whole.get("replicatedPkts", 0)}
    return {"switch": whole.get("counters", {}) | replicated,
            "resources": {item.name: MessageToDict(item.counters)
                          for item in (*uplinks.uplinks, *ports.ports)}}


def quiet(daemon, timeout=60):
    """The counters once nothing moves any more: equal in three looks, 100 ms apart. Over the API:
    nearly every test ends so, and nine processes of the client would take most of that time.
    """
    end = time.monotonic() + timeout
    with Client(daemon.address) as client:
        looks = [snapshot(client)]
        while len(looks) < 3 or not looks[-1] == looks[-2] == looks[-3]:
            assert time.monotonic() < end, f"counters still move after {timeout} s: {looks[-2:]}"
            time.sleep(0.1)
            looks.append(snapshot(client))
    return looks[-1]


def conservation(daemon, timeout=60):
    """Every frame is accounted for, per uplink, per port and in the whole switch. Returns counters.

    received = delivered + sum of named drops, as proto/vmqd/v1/types.proto states it.
    """
    counters = quiet(daemon, timeout)
    for name, item in counters["resources"].items():
        lost_in, lost_out = sum(drops(item, "in").values()), sum(drops(item, "out").values())
        forwarded = number(item, "inForwardedPkts")
        assert number(item, "inPkts") == forwarded + lost_in, f"{name}: {item}"
        assert number(item, "offeredPkts") == number(item, "outPkts") + lost_out, f"{name}: {item}"
        assert number(item, "inDiscards") == lost_in, f"{name}: {item}"
        assert number(item, "outDiscards") == lost_out, f"{name}: {item}"
    whole = counters["switch"]
    entered = number(whole, "inPkts") + number(whole, "replicatedPkts")
    left = sum(number(whole, field) for field in ("outPkts", "inDiscards", "outDiscards"))
    assert entered == left, f"switch: {entered} in, {left} out or dropped: {counters}"
    return counters
