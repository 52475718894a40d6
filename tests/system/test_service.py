"""vmqd as a service: what it tells systemd is true when it says it, what can be reloaded is, and three
capabilities are enough. Below a real systemd it runs in test_deploy.py.
"""

import contextlib
import grp
import os
import pwd
import resource
import signal
import socket

import pytest

from tests.lab import frames
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.stopped_thread import StoppedThread
from tests.lab.vmqd import OK, Daemon

PATIENCE = 30  # seconds


class Notify:
    """systemd's end of NOTIFY_SOCKET: every message, in order, read by the thread of the test."""

    def __init__(self, path):
        self.path, self.messages = str(path), []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)

    def wait(self, what):
        """Reads up to the first message with that line; the message."""
        while True:
            self.messages.append(self.socket.recv(4096).decode())
            if what in self.messages[-1].splitlines():
                return self.messages[-1]

    def read(self):
        """What has come since the last look, without waiting."""
        since = len(self.messages)
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.messages.append(self.socket.recv(4096).decode())
        self.socket.settimeout(PATIENCE)
        return self.messages[since:]


@pytest.fixture
def notify(tmp_path):
    listener = Notify(tmp_path / "notify")
    yield listener
    listener.socket.close()


@pytest.mark.core
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_ready_means_that_frames_flow(lab, notify, how):
    """The moment READY=1 comes, and nothing else is waited for, frames pass both ways."""
    wire = lab.wire("eth1")
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1", NOTIFY_SOCKET=notify.path)
    notify.wait("READY=1")
    taps = [lab.tap_vm(f"vm{index}", frames.vm_mac(index)) for index in range(1, 5)]
    box = lab.packet(lab.veth_vm("vm5", 5))
    for turn in range(5):
        if how == "stop":
            lab.daemon.stop()
            notify.wait("STOPPING=1")
        else:
            lab.daemon.kill()
        assert "READY=1" not in "".join(notify.read())
        lab.daemon.launch()
        notify.wait("READY=1")
        first = 100 * turn
        for index in range(10):
            for vm, tap in enumerate(taps):
                outside.send(frames.numbered(tap.mac, WIRE_MAC, first + vm, index))
            outside.send(frames.numbered(frames.vm_mac(5), WIRE_MAC, first + 5, index))
            taps[0].send(frames.numbered(WIRE_MAC, taps[0].mac, first + 6, index))
            box.send(frames.numbered(WIRE_MAC, frames.vm_mac(5), first + 7, index))
        for vm, tap in enumerate(taps):
            assert tap.wait_flow(first + vm, 10) == list(range(10)), f"vm{vm + 1}, turn {turn}"
        assert box.wait_flow(first + 5, 10) == list(range(10)), turn
        assert outside.wait_flow(first + 6, 10) == list(range(10)), turn
        assert outside.wait_flow(first + 7, 10) == list(range(10)), turn
    assert not any("STOPPING=1" in message for message in notify.read())


# --- reload


def reload(lab, notify, text):
    """What SIGHUP does with this settings file; the log since."""
    lab.daemon.settings.write_text(text)
    notify.read()
    before = len(lab.daemon.log())
    lab.daemon.process.send_signal(signal.SIGHUP)
    told = notify.wait("RELOADING=1")
    assert any(line.startswith("MONOTONIC_USEC=") for line in told.splitlines()), told
    notify.wait("READY=1")
    return lab.daemon.log()[before:]


def test_reload(lab, notify):
    lab.start(NOTIFY_SOCKET=notify.path)
    notify.wait("READY=1")
    path = lab.daemon.socket
    group = grp.getgrnam("daemon")
    assert path.stat().st_mode & 0o777 == 0o660
    log = reload(lab, notify, "control:\n  mode: \"0600\"\n  group: daemon\nlog_level: debug\n")
    assert "settings reloaded" in log and "restart" not in log, log
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_gid == group.gr_gid
    # Less is logged from the moment it is told.
    reload(lab, notify, "log_level: error\n")
    before = len(lab.daemon.log())
    assert reload(lab, notify, "log_level: error\n") == ""
    assert lab.call("uplink", "add", "nosuchdevice").returncode != OK
    assert lab.daemon.log()[before:] == ""
    assert "settings reloaded" in reload(lab, notify, "log_level: info\n")
    assert path.stat().st_mode & 0o777 == 0o660, "left out means the default"


def test_reload_says_what_needs_a_restart(lab, notify):
    lab.nic()
    lab.start(uplink="nic0", NOTIFY_SOCKET=notify.path)
    notify.wait("READY=1")
    log = reload(lab, notify, "limits:\n  watchers: 5\ncontrol:\n  mode: \"0666\"\n")
    line = next(line for line in log.splitlines() if "settings reloaded" in line)
    assert "restart" in line and "limits" in line and "mode" not in line, log
    assert lab.daemon.socket.stat().st_mode & 0o777 == 0o666, "the rest took effect"


@pytest.mark.parametrize("broken,named", [
    ("control:\n  mode: \"0999\"\n", "vmqd.yaml:2"), ("no_such_key: 1\nlog_level: error\n",
                                                      "no_such_key"),
    ("log_level: [error\n", "vmqd.yaml")])
def test_reload_of_a_broken_file(lab, notify, broken, named):
    """Nothing of it is taken, the line is named, and the daemon serves on."""
    lab.start(NOTIFY_SOCKET=notify.path)
    notify.wait("READY=1")
    before = lab.daemon.socket.stat()
    log = reload(lab, notify, broken)
    assert "nothing changed" in log and named in log, log
    after = lab.daemon.socket.stat()
    assert (after.st_mode, after.st_gid) == (before.st_mode, before.st_gid)
    assert lab.call("switch", "show").returncode == OK
    assert "settings reloaded" in reload(lab, notify, "control:\n  mode: \"0600\"\n")
    assert lab.daemon.socket.stat().st_mode & 0o777 == 0o600


# --- watchdog

FOR_THIS_PROCESS = ("sh", "-c", 'export WATCHDOG_PID=$$; exec "$@"', "sh")
HANGS = "a worker has made no turn"


@pytest.fixture
def watched(lab, notify):
    """A daemon with an uplink and a watchdog of two seconds."""
    lab.nic()
    lab.start(uplink="nic0", NOTIFY_SOCKET=notify.path, WATCHDOG_USEC="2000000")
    lab.daemon.stop()
    lab.daemon.launch(*FOR_THIS_PROCESS)
    notify.read()
    notify.wait("READY=1")
    return lab.daemon


def test_watchdog_is_fed_while_all_is_well(watched, notify):
    for _ in range(4):
        notify.wait("WATCHDOG=1")
    assert HANGS not in watched.log()


@pytest.mark.parametrize("worker", [0, 3])
def test_watchdog_starves_while_a_worker_hangs(watched, notify, worker):
    """One of four that stands still is enough; when it goes on, so does the watchdog."""
    notify.wait("WATCHDOG=1")
    for turn in (1, 2):
        said = watched.log().count(HANGS)
        with StoppedThread(watched.pid, f"vmq-nic0-{worker}"):
            wait_until(lambda s=said: watched.log().count(HANGS) > s, PATIENCE, what="a complaint")
            notify.read()
            wait_until(lambda s=said: watched.log().count(HANGS) >= s + 3, PATIENCE,
                       what="three complaints")
            assert notify.read() == [], f"turn {turn}: fed while a worker hangs"
        notify.wait("WATCHDOG=1")
        notify.wait("WATCHDOG=1")


def test_watchdog_is_fed_however_often_it_is_reloaded(watched, notify):
    """Reloads that come faster than the watchdog's period do not keep it from being fed."""
    fed = 0
    for _ in range(200):
        watched.process.send_signal(signal.SIGHUP)
        notify.wait("READY=1")
        with contextlib.suppress(TimeoutError):
            notify.socket.settimeout(0.1)
            notify.wait("WATCHDOG=1")
        notify.socket.settimeout(PATIENCE)
        fed = sum("WATCHDOG=1" in message for message in notify.messages)
        if fed >= 3:
            return
    raise AssertionError(f"fed {fed} times during {notify.messages[-5:]}")


def test_watchdog_of_somebody_else(lab, notify):
    """WATCHDOG_PID names another process: it is not this one's business."""
    lab.nic()
    lab.start(uplink="nic0", NOTIFY_SOCKET=notify.path, WATCHDOG_USEC="200000", WATCHDOG_PID="1")
    notify.wait("READY=1")
    for index in range(20):  # calls take longer than the period
        lab.tap_vm(f"vm{index}", frames.vm_mac(index))
    assert not any("WATCHDOG" in message for message in notify.read())


# --- without root

CAPABILITIES = {"net_admin": 12, "net_raw": 13, "bpf": 39}
MASK = sum(1 << number for number in CAPABILITIES.values())
# Within the 8 MiB that a user may lock where LimitMEMLOCK= says nothing.
SMALL = ("--buffers", "2048")
NEEDED = 64 << 20  # bytes that the kernel pins for the test's sockets
NOBODY = pwd.getpwnam("nobody")


class AsNobody:
    """A namespace whose commands run as nobody, with the three capabilities."""

    def __init__(self, namespace):
        self.namespace = namespace

    def __getattr__(self, name):
        return getattr(self.namespace, name)

    def command(self, *words):
        three = ",".join(f"+{name}" for name in CAPABILITIES)
        return self.namespace.command(
            "setpriv", "--reuid", NOBODY.pw_uid, "--regid",
            NOBODY.pw_gid, "--clear-groups", "--no-new-privs", "--inh-caps", f"-all,{three}",
            "--ambient-caps", f"-all,{three}", "--bounding-set", f"-all,{three}", *words)


@pytest.fixture
def unprivileged(lab):
    """The lab's daemon, owned by nobody; its directories are too."""
    if 0 <= resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] < NEEDED:
        pytest.skip("this machine limits locked memory, and root may not raise the limit")
    daemon = lab.daemon = Daemon(AsNobody(lab.host), lab.directory)
    lab.stack.callback(lab._end_daemon)
    daemon.pins.mkdir()
    for path in (lab.directory, daemon.pins):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    return daemon


def credentials(pid):
    """{line of /proc/pid/status: its values}, of all threads."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as file:
            for line in file:
                key, _, value = line.partition(":")
                found.setdefault(key, set()).add(value.strip())
    return found


@pytest.mark.core
def test_three_capabilities_are_enough(lab, unprivileged):
    """Uplink, tap, veth and netdev ports; kill -9 and all is back; what is left is cleaned up."""
    wire = lab.wire("eth1", queues=1)
    outside = lab.packet(wire, "wire0")
    unprivileged.start()
    lab.cli("uplink", "add", "eth1", *SMALL)
    tap = lab.tap_vm("vm1", frames.vm_mac(1))
    boxes = {2: lab.veth_vm("vm2", 2), 3: lab.netdev_vm("vm3", 3)}

    def all_is_well(turn):
        has = credentials(unprivileged.pid)
        for which in ("CapEff", "CapPrm", "CapBnd"):
            assert {int(value, 16) for value in has[which]} == {MASK}, (which, has[which])
        assert has["Uid"] == {"\t".join([str(NOBODY.pw_uid)] * 4)}, has["Uid"]
        assert lab.cli("uplink", "show", "eth1")["survivesCrash"]
        outside.send_flow(tap.mac, WIRE_MAC, turn, 20)
        assert tap.wait_flow(turn, 20) == list(range(20))
        for index, box in boxes.items():
            box.ping("10.0.0.254")
            wire.ping(f"10.0.0.{index}")

    all_is_well(1)
    for turn in (2, 3):
        unprivileged.kill()
        unprivileged.start()
        for port in ("vm1", "vm2", "vm3"):
            lab.wait_up(port)
        all_is_well(turn)
    unprivileged.kill()
    said = unprivileged.cleanup()
    assert "detached" in said and "deleted vm1" in said, said
    unprivileged.start()  # what it is to be is still known, and made again
    wait_until(lambda: lab.cli("uplink", "show", "eth1")["operStatus"] == "UP", PATIENCE)
    assert {"vm1", "vm2"} <= set(lab.host.links())


def test_settings_are_put_back_without_root(lab, unprivileged):
    lab.wire("eth1", queues=1)
    before = lab.host.run("ethtool", "-k", "eth1").stdout
    unprivileged.start()
    lab.cli("uplink", "add", "eth1", *SMALL)
    assert lab.host.run("ethtool", "-k", "eth1").stdout != before
    unprivileged.kill()
    unprivileged.cleanup()
    assert lab.host.run("ethtool", "-k", "eth1").stdout == before
