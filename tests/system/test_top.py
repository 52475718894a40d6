"""The switch at work as an operator sees it: top, queue watch, port history, queue history."""

import itertools
import json
import re
import subprocess

import pytest

from tests.lab import frames
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.stream import Stream
from tests.lab.terminal import Terminal
from tests.lab.vmqd import CLI, OK, REFUSED, UNREACHABLE, USAGE


@pytest.fixture
def busy(lab):
    """Two VMs with traffic, and a third without."""
    nic = lab.nic(queues=2)
    lab.start("--processor-set", "0-1", uplink="nic0")
    streams = []
    for index, name in enumerate(("alpha", "beta", "idle")):
        vm = lab.tap_vm(name, frames.vm_mac(index + 1))
        if name != "idle":
            streams.append(Stream(nic, vm.mac, WIRE_MAC, index, rate=500 * (index + 1)))
    yield lab
    for stream in streams:
        stream.stop()


def terminal(lab, *words, **size):
    shown = Terminal(CLI, "--address", lab.daemon.address, "top", *words, **size)
    lab.stack.callback(shown.finish)
    return shown


def rows(lines, head):
    """Rows of the table that begins with `head`, split at blanks."""
    start = next(i for i, line in enumerate(lines) if line.startswith(head))
    return [line.split() for line in itertools.takewhile(bool, lines[start + 1:])]


def is_complete(lines):
    """CPUs, queues and ports are there, and the VMs with traffic come first, each with its rate."""
    ports = rows(lines, "PORT ")
    return (rows(lines, "CPU ") and [row[0] for row in rows(lines, "QUEUE ")] == ["nic0/0", "nic0/1"]
            and [row[0] for row in ports] == ["beta", "alpha", "idle"]
            and ports[0][4] != "0" and ports[2][4] == "0")


def looks_right(shown):
    lines = shown.screen()
    return any(line.startswith("PORT ") for line in lines) and is_complete(lines)


def test_top_on_a_terminal(busy):
    shown = terminal(busy)
    wait_until(lambda: looks_right(shown), 20, what="a full picture with rates")
    lines = shown.screen()
    assert lines[0].startswith("vmqd ") and all("~" not in line for line in lines), lines
    cpu = rows(lines, "CPU ")[0]
    assert cpu[0] == "0" and re.search(r"\[[#= ]{26}\]", "\n".join(lines)), lines
    # A window that gets smaller: the busiest stay, and nothing is wrapped.
    shown.resize(60, 13)
    wait_until(lambda: any(re.match(r"PORT 1/3 ", line) for line in shown.screen()), 20,
               what="the picture for a smaller window")
    lines = shown.screen()
    assert rows(lines, "PORT ")[0][0] == "beta" and all(line[:1] != "[" for line in lines), lines
    shown.type("x")  # means nothing
    shown.type("q")
    assert shown.wait() == OK
    assert shown.is_as_before() and b"\x1b[?1049h" in shown.raw


def test_top_ends_with_ctrl_c_and_count(busy):
    shown = terminal(busy, "--interval", "30")
    wait_until(lambda: any(line.startswith("PORT ") for line in shown.screen()), 20,
               what="the first picture")
    shown.type("\x03")
    assert shown.wait() == OK and shown.is_as_before()
    shown = terminal(busy, "--interval", "0.1", "--count", "2")
    assert shown.wait() == OK and shown.is_as_before()


def test_top_when_the_daemon_goes(busy):
    busy.conserves = False
    shown = terminal(busy, "--interval", "0.2")
    wait_until(lambda: any(line.startswith("PORT ") for line in shown.screen()), 20,
               what="the first picture")
    busy.daemon.kill()
    wait_until(lambda: "lost the connection" in shown.screen()[0], 20, what="the loss being told")
    busy.daemon.start()
    wait_until(lambda: shown.screen()[0].startswith("vmqd "), 20, what="it being there again")
    shown.type("q")
    assert shown.wait() == OK and shown.is_as_before()


def test_top_without_a_daemon():
    shown = Terminal(CLI, "--address", "unix:/nonexistent", "top")
    assert shown.wait() == UNREACHABLE
    assert "cannot reach vmqd" in "\n".join(shown.screen()) and shown.is_as_before()
    shown.finish()


def test_top_in_a_pipe(busy):
    def last_picture():
        done = busy.call("top", "--count", "2", "--interval", "1", output="table")
        assert done.returncode == OK and not done.stderr and "\x1b" not in done.stdout
        assert len(re.findall("^vmqd ", done.stdout, re.MULTILINE)) == 2
        return done.stdout.split("\n\nvmqd ")[1].splitlines()

    wait_until(lambda: is_complete(last_picture()), 20, what="both VMs' rates")
    assert all(row[-1] == "0" for row in rows(last_picture(), "PORT ")), "nothing is dropped"
    looks = [json.loads(line) for line in
             busy.call("top", "--count", "3", "--interval", "0.1").stdout.splitlines()]
    assert len(looks) == 3 and looks[0]["time"] < looks[1]["time"] < looks[2]["time"]
    assert looks[0]["switch"]["portCount"] == 3 and len(looks[2]["ports"]["ports"]) == 3


def test_top_refuses_what_makes_no_sense(lab):
    lab.start()
    assert lab.call("top", "--interval", "0").returncode == USAGE
    assert lab.call("top", "--count", "-1").returncode == USAGE


def test_queue_watch(busy):
    done = busy.call("queue", "watch", "--count", "3", "--interval", "0.2")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    names = ["uplinks/nic0/queues/0", "uplinks/nic0/queues/1"]
    assert [line["queue"]["name"] for line in lines] == names * 3
    assert lines[0]["time"] == lines[1]["time"] < lines[2]["time"]
    table = busy.call("queue", "watch", "--uplink", "nic0", "--count", "2", "--interval", "0.2",
                      output="table").stdout.splitlines()
    assert table[0].split() == ["TIME", "QUEUE", "CPU", "BUSY", "BUSY%", "IN-PPS", "OUT-PPS", "LOST/S"]
    assert [line.split()[1] for line in table[1:]] == ["nic0/0", "nic0/1"] * 2
    assert all(len(line) <= 80 and re.search(r"\[[# ]{14}\]", line) for line in table[1:]), table
    refused = busy.call("queue", "watch", "--uplink", "nic7", "--count", "1")
    assert refused.returncode == REFUSED and "nic7" in refused.stderr


def test_queue_watch_into_a_pipe_that_closes(busy):
    done = subprocess.run(f"{CLI} -a {busy.daemon.address} queue watch --interval 0.1 | head -n 1",
                          shell=True, timeout=30, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("TIME")


def test_histories(lab):
    lab.wire()
    lab.start(uplink="eth1")
    lab.veth_vm("vm1", 1)
    lab.veth_vm("vm10", 10)  # not part of vm1's
    lab.cli("port", "set", "vm1", "--weight", "50")
    history = lab.cli("port", "history", "vm1")["events"]
    assert {event["resource"] for event in history} == {"ports/vm1"}
    reasons = [event["reason"] for event in history]
    assert reasons[0] == "ADDED" and "UPDATED" in reasons
    revisions = [int(event["revision"]) for event in history]
    assert revisions == sorted(revisions)
    table = lab.call("port", "history", "vm1", output="table").stdout.splitlines()
    assert table[0].split() == ["TIME", "RESOURCE", "REASON", "MESSAGE"]
    assert len(table) == len(history) + 1
    lab.cli("port", "del", "vm1")
    assert lab.cli("port", "history", "vm1")["events"][-1]["reason"] == "DELETED"
    never = lab.call("port", "history", "vm2")
    assert never.returncode == REFUSED and "NOT_FOUND" in never.stderr
    assert lab.call("queue", "history", "eth1", "1").returncode == OK
    assert lab.call("queue", "history", "eth1", "99").returncode == REFUSED
