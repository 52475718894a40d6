"""The NIC is borrowed: what vmqd changes on a device that is not its own is shown, written down before
it is done, and put back, however vmqd ends. A veth stands for the NIC: it takes VLAN tags off, as a
NIC does, and can be told not to.
"""

import os
import signal
import subprocess

import pytest

from tests.lab import frames
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.stopped_thread import StoppedThread
from tests.lab.vmqd import CLI

# ethtool's name of the feature, and the kernel's, which vmqd shows
BORROWED = {"rx-vlan-offload": "rx-vlan-hw-parse", "rx-vlan-stag-hw-parse": "rx-vlan-stag-hw-parse"}
ON, OFF = dict.fromkeys(BORROWED, "on"), dict.fromkeys(BORROWED, "off")


def features(lab, device="eth1"):
    """All of them, {name: "on" or "off"}."""
    lines = lab.host.run("ethtool", "-k", device).stdout.splitlines()[1:]
    pairs = (line.strip().split(": ") for line in lines)
    return {name: value.split()[0] for name, value in pairs}


def borrowed(lab, device="eth1"):
    found = features(lab, device)
    return {name: found[name] for name in BORROWED}


def lent(lab):
    """What the uplink says that it has changed."""
    return lab.cli("uplink", "show", "eth1").get("changedSettings", [])


ALL_LENT = [f"{name}: on -> off" for name in BORROWED.values()]


@pytest.fixture
def nic(lab):
    """eth1 as it was found: every feature."""
    lab.wire("eth1")
    found = features(lab)
    assert borrowed(lab) == ON, "a veth of this kernel is no NIC to this test"
    return found


def test_shown_and_put_back(lab, nic):
    lab.start(uplink="eth1")
    assert lent(lab) == ALL_LENT and borrowed(lab) == OFF
    lab.daemon.stop()
    assert features(lab) == nic
    lab.daemon.start()  # the uplink is in the state: borrowed again
    assert lent(lab) == ALL_LENT and borrowed(lab) == OFF
    lab.cli("uplink", "del", "eth1")
    assert features(lab) == nic
    lab.daemon.stop()
    assert features(lab) == nic


def test_what_is_off_already_is_not_borrowed(lab, nic):
    lab.host.run("ethtool", "-K", "eth1", "rx-vlan-offload", "off")
    lab.start(uplink="eth1")
    assert lent(lab) == ALL_LENT[1:]
    lab.daemon.kill()
    lab.daemon.start()
    assert lent(lab) == ALL_LENT[1:]
    lab.daemon.stop()
    assert borrowed(lab) == ON | {"rx-vlan-offload": "off"}


def test_written_down_before_it_is_done(lab, nic):
    """In the state directory, each of them, while the daemon runs; gone from it after the end."""
    lab.start(uplink="eth1")
    written = b"".join(file.read_bytes() for file in lab.daemon.state.glob("state.*"))
    for name in BORROWED.values():
        assert f"feature:{name}".encode() in written
    lab.daemon.stop()
    # Their owner's wish from here on: an entry left in the ledger would undo it.
    for name in BORROWED:
        lab.host.run("ethtool", "-K", "eth1", name, "off")
    lab.daemon.start()
    assert lent(lab) == [] and borrowed(lab) == OFF
    lab.daemon.stop()
    assert borrowed(lab) == OFF
    assert "nothing was left behind" in lab.daemon.cleanup()
    assert borrowed(lab) == OFF


def test_killed_and_cleaned_up(lab, nic):
    lab.start(uplink="eth1")
    lab.daemon.kill()
    assert borrowed(lab) == OFF, "nobody was there to put it back"
    said = lab.daemon.cleanup()
    assert all(f"{name} of eth1 back to on" in said for name in BORROWED.values()), said
    assert features(lab) == nic
    assert "nothing was left behind" in lab.daemon.cleanup()


@pytest.mark.parametrize("kills", [1, 3])
@pytest.mark.parametrize("delete", [True, False])
def test_killed_and_restarted(lab, nic, kills, delete):
    """What was there before the first of all daemons is what comes back."""
    lab.start(uplink="eth1")
    for _ in range(kills):
        lab.daemon.kill()
        lab.daemon.start()
        assert lent(lab) == ALL_LENT and borrowed(lab) == OFF
    if delete:
        lab.cli("uplink", "del", "eth1")
        assert features(lab) == nic
    lab.daemon.stop()
    assert features(lab) == nic


def test_killed_between_the_deletion_and_the_return(lab, nic):
    """The deletion is written and one worker never ends; the next daemon gives the NIC back."""
    lab.start(uplink="eth1")
    size = sum(file.stat().st_size for file in lab.daemon.state.glob("state.*"))
    held = StoppedThread(lab.daemon.pid, "vmq-eth1-0")
    held.__enter__()  # and killed: there is nothing to let go of
    deletion = subprocess.Popen([CLI, "--address", lab.daemon.address, "uplink", "del", "eth1"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: sum(file.stat().st_size for file in lab.daemon.state.glob("state.*"))
                   > size, 15, what="the deletion being written")
        assert deletion.poll() is None and borrowed(lab) == OFF
    finally:
        lab.daemon.process.send_signal(signal.SIGKILL)
        os.waitpid(held.task, StoppedThread.WALL)
        lab.daemon.process.wait()
        deletion.wait()
    assert borrowed(lab) == OFF
    lab.daemon.start()
    assert lab.cli("uplink", "list").get("uplinks", []) == []
    assert features(lab) == nic
    told = [event["message"] for event in lab.cli("event", "list")["events"]
            if event["reason"] == "CLEANED_UP"]
    assert all(any(name in message for message in told) for name in BORROWED.values()), told


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_changed_meanwhile_is_left(lab, nic, end):
    """Somebody puts one back and turns off another that vmqd never touched: both stay."""
    lab.start(uplink="eth1")
    lab.host.run("ethtool", "-K", "eth1", "rx-vlan-offload", "on", "tso", "off")
    wish = features(lab)
    if end == "stop":
        lab.daemon.stop()
    else:
        lab.daemon.kill()
        lab.daemon.cleanup()
    assert features(lab) == wish | ON
    assert features(lab)["tcp-segmentation-offload"] == "off"


def test_renamed_device_is_given_back(lab, nic):
    lab.start(uplink="eth1")
    lab.host.plugged.add("lan7")
    lab.host.ip("link", "set", "eth1", "name", "lan7")
    lab.daemon.stop()
    assert features(lab, "lan7") == nic


def test_device_comes_anew(lab, nic):
    """The new device under the old name has settings of its own, which come back as well."""
    lab.start(uplink="eth1")
    lab.host.ip("link", "del", "eth1")
    wait_until(lambda: lab.cli("uplink", "show", "eth1")["operStatus"] == "WAITING", 15)
    lab.wire("eth1")
    lab.host.run("ethtool", "-K", "eth1", "rx-vlan-offload", "off")
    wait_until(lambda: lab.cli("uplink", "show", "eth1")["operStatus"] == "UP", 15)
    assert borrowed(lab) == OFF
    wish = lent(lab)
    lab.daemon.stop()
    # vmqd may have been faster than this test's own change, and then lends it.
    assert borrowed(lab)["rx-vlan-stag-hw-parse"] == "on"
    assert borrowed(lab)["rx-vlan-offload"] == ("on" if ALL_LENT[0] in wish else "off")


def listeners(lab, device):
    """What the device was asked to receive beside its own address."""
    found = lab.host.links()[device]
    addresses = lab.host.ip("-j", "maddr", "show", "dev", device)
    return {key: found.get(key) for key in ("promiscuity", "allmulti", "flags")}, addresses


@pytest.mark.parametrize("end", ["delete", "stop", "kill"])
def test_filters_and_promiscuity(lab, nic, end):
    """The NIC's address filters are as before, and so is the device of a netdev port."""
    lab.host.plugged |= {"box", "box-p"}
    lab.host.ip("link", "add", "box", "type", "veth", "peer", "name", "box-p")
    lab.host.up("box", "box-p")
    wait_until(lambda: "LOWER_UP" in lab.host.links()["box"]["flags"], what="a carrier")
    before = {device: listeners(lab, device) for device in ("eth1", "box", "box-p")}
    lab.start(uplink="eth1")
    lab.cli("port", "add", "box", "--netdev", "box", "--mac", frames.vm_mac(1))
    lab.tap_vm("vm2", frames.vm_mac(2))
    pins = sorted(pin.name for pin in lab.daemon.pins.iterdir())
    assert len(pins) >= 2, pins
    if end == "delete":
        for port in ("box", "vm2"):
            lab.cli("port", "del", port)
        lab.cli("uplink", "del", "eth1")
        assert list(lab.daemon.pins.iterdir()) == []
    elif end == "stop":
        lab.daemon.stop()  # looks for pins itself
    else:
        lab.daemon.kill()
        assert sorted(pin.name for pin in lab.daemon.pins.iterdir()) == pins
        lab.daemon.cleanup()
    assert {device: listeners(lab, device) for device in before} == before


def test_tags_arrive_while_borrowed(lab):
    """What it is borrowed for: the tag is in the frame, for a port in a VLAN; then as ever."""
    wire = lab.wire("eth1")
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1), "--vlan", "7")
    for index in range(10):
        outside.send(frames.numbered(vm.mac, WIRE_MAC, 1, index, vlan=7))
    assert vm.wait_flow(1, 10) == list(range(10))
