"""The processor set changes while frames flow: workers outside of it move in at once, every other
thread of the daemon moves out, and no frame is lost or overtaken.
"""

import contextlib
import os
import pathlib
import signal

import pytest

from tests.lab import frames
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.stream import Stream

PATIENCE = 30  # seconds
CPUS = sorted(os.sched_getaffinity(0))

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


def threads(lab):
    """{name or id: CPUs it may run on}: ids of those that are no workers."""
    found = {}
    for task in pathlib.Path(f"/proc/{lab.daemon.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            name = (task / "comm").read_text().strip()
            cpus = os.sched_getaffinity(int(task.name))
            found[name if name.startswith("vmq-") else task.name] = cpus
    return found


def workers(lab):
    return {name: cpus for name, cpus in threads(lab).items() if name.startswith("vmq-")}


def reload(lab, text):
    """SIGHUP with these settings; what is logged until it is done."""
    before = len(lab.daemon.log())
    lab.daemon.settings.write_text(text)
    lab.daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in lab.daemon.log()[before:], PATIENCE, what="the reload")
    return lab.daemon.log()[before:]


def shown(lab):
    return {queue.get("cpu", 0) for queue in lab.cli("queue", "list")["queues"]}


@pytest.mark.core
def test_workers_move_under_load(lab):
    nic = lab.nic(queues=4)
    lab.start(uplink="nic0")
    vms = [lab.tap_vm(f"vm{index}", frames.vm_mac(index)) for index in range(4)]
    streams = [Stream(nic, vm.mac, WIRE_MAC, index, rate=2000) for index, vm in enumerate(vms)]
    streams += [Stream(vm, WIRE_MAC, vm.mac, 10 + index, rate=500) for index, vm in enumerate(vms)]
    first, second = CPUS[:2]
    for cpu in (first, second) * 5:
        log = reload(lab, f'processor_set: "{cpu}"\n')
        assert "settings reloaded" in log and "restart" not in log, log
        found = threads(lab)
        assert all((cpus == {cpu}) == name.startswith("vmq-") for name, cpus in found.items()), found
        assert shown(lab) == {cpu}
        assert lab.cli("switch", "show")["processorSet"] == str(cpu)
    reload(lab, f'processor_set: "{first},{second}"\n')
    assert workers(lab) == {f"vmq-nic0-{queue}": {second} for queue in range(4)}, "nobody had to move"
    reload(lab, f'processor_set: "{first}"\n')
    for stream in streams:
        stream.stop()
    for index, vm in enumerate(vms):
        sent = streams[index].sent, streams[4 + index].sent
        assert vm.wait_flow(index, sent[0]) == list(range(sent[0]))
        assert nic.wait_flow(10 + index, sent[1]) == list(range(sent[1]))
    assert lab.drops("uplink", "nic0", "in") == {}
    told = [event["message"] for event in lab.cli("event", "list")["events"]
            if event["reason"] == "PROCESSORS_SET"]
    assert len(told) == 12 and "4 moved" in told[-1] and "0 moved" in told[-2], told


def test_new_workers_go_to_the_new_set(lab):
    lab.nic(queues=2)
    lab.wire("eth1", queues=2)
    lab.start("--processor-set", CPUS[0])  # a flag comes before the file
    assert "settings reloaded" in reload(lab, f'processor_set: "{CPUS[1]}"\n')
    lab.cli("uplink", "add", "nic0")
    assert shown(lab) == {CPUS[0]}
    lab.daemon.stop()
    lab.daemon.arguments = ()
    lab.daemon.start()
    assert shown(lab) == {CPUS[1]}
    reload(lab, f'processor_set: "{CPUS[0]}"\n')
    lab.cli("uplink", "add", "eth1")
    assert shown(lab) == {CPUS[0]}


def test_a_set_that_cannot_be_is_refused(lab):
    lab.nic()
    lab.start(uplink="nic0")
    before = threads(lab)
    for wrong in ('"1000"', '"1-"'):
        log = reload(lab, f"processor_set: {wrong}\n")
        assert "settings not reloaded, nothing changed" in log and "processor set" in log, log
        assert threads(lab) == before
    lab.daemon.settings.write_text("")  # its clean-up reads it too
