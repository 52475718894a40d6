"""Uplinks with few, many and changing numbers of queues: what `uplink add --queues` and `uplink set
--queues` make of the device, and what is left of it afterwards. A veth stands for the NIC; its other
end may not send on more queues than it has.
"""

import pytest

from tests.lab import frames
from tests.lab.api import Client
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.stream import Stream
from tests.lab.vmqd import CLI, OK, REFUSED, number

PATIENCE = 20  # seconds
BURST = 40


def channels(namespace, device):
    """(receive, transmit), as ethtool has them."""
    now = namespace.run("ethtool", "-l", device).stdout.split("Current hardware settings:")[1]
    counts = dict(line.split(":") for line in now.strip().splitlines())
    return int(counts["RX"]), int(counts["TX"])


def set_channels(namespace, device, count):
    namespace.run("ethtool", "-L", device, "rx", count, "tx", count)


def served(lab, device="eth1"):
    """Queues of the uplink, once its ports run."""
    return lab.cli("uplink", "show", device)["effectiveQueues"]


def lent(lab):
    """What the uplink says of the device's queues."""
    changed = lab.cli("uplink", "show", "eth1").get("changedSettings", [])
    return [words for words in changed if words.startswith("queues:")]


def home(lab, port):
    return lab.cli("port", "show", port).get("effectiveQueue", 0)


def events(lab, reason):
    return [event for event in lab.cli("event", "list")["events"] if event["reason"] == reason]


@pytest.fixture
def veth(lab):
    """eth1 with 8 queues of 8; the wire sends on one."""
    wire = lab.wire("eth1", queues=8)
    set_channels(wire, "wire0", 1)
    wire.outside = lab.packet(wire, "wire0")
    return wire


def flows(sender, receiver, dst, src, flow, at_once=BURST):
    """So many frames of a flow arrive, `at_once` under way together."""
    for first in range(0, BURST, at_once):
        sender.send_flow(dst, src, flow, at_once, first=first)
        done = first + at_once
        assert receiver.wait_flow(flow, done) == list(range(done)), flow


def check(lab, outside, vms, flow, at_once=BURST):
    """Both ways between the wire and each VM, as soon as its port runs."""
    for index, vm in enumerate(vms, flow):
        lab.wait_up(vm.device)
        flows(outside, vm, vm.mac, WIRE_MAC, index, at_once)
        flows(vm, outside, WIRE_MAC, vm.mac, 1000 + index, at_once)


@pytest.mark.parametrize("queues", [1, 2, 7, 64])
def test_few_and_many(lab, queues):
    """The device gets as many as are asked for; frames of VMs on several of them arrive."""
    wire = lab.wire("eth1", queues=64)
    set_channels(wire, "wire0", queues)
    outside = lab.packet(wire, "wire0")
    lab.start()
    lab.cli("uplink", "add", "eth1", "--queues", queues, "--buffers", "2048")
    assert served(lab) == queues and channels(lab.host, "eth1") == (queues, queues)
    assert lent(lab) == ([] if queues == 64 else [f"queues: rx 64 tx 64 -> rx {queues} tx {queues}"])
    homes = sorted({0, queues // 2, queues - 1})
    vms = [lab.tap_vm(f"vm{queue}", frames.vm_mac(queue + 1), "--queue", queue) for queue in homes]
    # Of 2048 buffers, a worker lends 4 to each of 63 others, and there may be a flood.
    check(lab, outside, vms, 0, at_once=2)
    if queues > 1:
        flows(vms[0], vms[-1], vms[-1].mac, vms[0].mac, 500, at_once=2)
    for queue in lab.cli("queue", "list")["queues"]:
        assert queue["buffersReserved"] <= queue["buffers"] == 2048
    lab.daemon.stop()
    assert channels(lab.host, "eth1") == (64, 64)


def test_set_while_frames_flow(lab, veth):
    """Up and down; the gap is told, what came in it is counted, and none of it is the host's."""
    set_channels(lab.host, "eth1", 2)
    lab.start(uplink="eth1")
    assert served(lab) == 2 and not lent(lab)
    host = lab.packet(lab.host, "eth1")
    vms = [lab.tap_vm(f"vm{index}", frames.vm_mac(index)) for index in range(4)]
    pinned = lab.tap_vm("pinned", frames.vm_mac(9), "--queue", "1")
    streams = [Stream(veth.outside, vm.mac, WIRE_MAC, 2000 + index, rate=1000)
               for index, vm in enumerate(vms)]
    for turn, queues in enumerate((8, 3, 4, 2)):
        shown = lab.cli("uplink", "set", "eth1", "--queues", queues)
        assert shown["queues"] == shown["effectiveQueues"] == queues
        assert channels(lab.host, "eth1") == (queues, queues)
        assert lent(lab) == ([f"queues: rx 2 tx 2 -> rx {queues} tx {queues}"] if queues > 2 else [])
        check(lab, veth.outside, vms, 100 * turn)
        assert home(lab, "pinned") == 1
        assert all(home(lab, vm.device) < queues for vm in vms)
        told = events(lab, "QUEUES_SET")
        assert len(told) == turn + 1, told
        assert f"has {queues} queues now" in told[-1]["message"] and " ms" in told[-1]["message"]
    for stream in streams:
        stream.stop()
    check(lab, veth.outside, [*vms, pinned], 600)
    for index in range(len(vms)):
        assert not host.flow(2000 + index)
    lab.conservation()


def test_all_it_has_is_what_it_had(lab, veth):
    """0 gives the borrowed queues back; so do the uplink's end, a stop, and a clean-up."""
    set_channels(lab.host, "eth1", 3)
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    for queues, want in ((6, 6), (0, 3), (5, 5)):
        assert lab.cli("uplink", "set", "eth1", "--queues", queues)["effectiveQueues"] == want
        assert channels(lab.host, "eth1") == (want, want)
        check(lab, veth.outside, [vm], 10 * want)
    lab.cli("port", "del", "vm1")
    lab.cli("uplink", "del", "eth1")
    assert channels(lab.host, "eth1") == (3, 3)
    lab.cli("uplink", "add", "eth1", "--queues", "7")
    assert channels(lab.host, "eth1") == (7, 7)
    lab.daemon.stop()
    assert channels(lab.host, "eth1") == (3, 3)
    lab.daemon.start()
    assert served(lab) == 7 and channels(lab.host, "eth1") == (7, 7)
    lab.daemon.kill()
    assert channels(lab.host, "eth1") == (7, 7), "nobody was there to put it back"
    assert "channels: of eth1 back to rx 3 tx 3" in lab.daemon.cleanup()
    assert channels(lab.host, "eth1") == (3, 3)


def refused(lab, *words):
    done = lab.call("uplink", *words, output="table")
    assert done.returncode == REFUSED, done
    return done.stderr


def test_what_cannot_be_is_refused(lab, veth):
    """And all is as it was: no frame is lost for it."""
    set_channels(lab.host, "eth1", 4)
    lab.start()
    assert "can have 8" in refused(lab, "add", "eth1", "--queues", "9")
    assert channels(lab.host, "eth1") == (4, 4)
    lab.cli("uplink", "add", "eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    lab.tap_vm("low", frames.vm_mac(2), "--queue", "1")
    lab.tap_vm("high", frames.vm_mac(3), "--queue", "3")
    said = refused(lab, "set", "eth1", "--queues", "9")
    assert "uplink.queues" in said and "9" in said and "can have 8" in said, said
    assert "65" in refused(lab, "set", "eth1", "--queues", "65")
    said = refused(lab, "set", "eth1", "--queues", "2")
    assert "high" in said and "low" not in said and "queues 0 to 1" in said, said
    assert lab.call("uplink", "set", "eth1").returncode not in (OK, REFUSED)
    assert not events(lab, "QUEUES_SET") and served(lab) == 4
    check(lab, veth.outside, [vm], 0)
    assert lab.drops("uplink", "eth1", "in") == {}


def test_what_the_kernel_refuses_is_undone(lab):
    """A veth with a program receives on as many queues as its peer sends on."""
    wire = lab.wire("eth1", queues=4)
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    said = refused(lab, "set", "eth1", "--queues", "2")
    assert "uplink.queues" in said and "ethtool -L PEER tx 2" in said, said
    shown = lab.cli("uplink", "show", "eth1")
    assert shown["effectiveQueues"] == 4 and not shown.get("queues") and not lent(lab)
    assert channels(lab.host, "eth1") == (4, 4)
    check(lab, outside, [vm], 0)
    wire.run("ethtool", "-L", "wire0", "tx", 2)  # what the refusal said
    assert lab.cli("uplink", "set", "eth1", "--queues", "2")["effectiveQueues"] == 2
    check(lab, outside, [vm], 100)


def test_a_tap_serves_what_it_is_asked_to(lab):
    """Nobody can give it other queues, but fewer of them can be served."""
    nic = lab.nic(queues=4)
    lab.start(uplink="nic0")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    assert lab.cli("uplink", "set", "nic0", "--queues", "2")["effectiveQueues"] == 2
    said = refused(lab, "set", "nic0", "--queues", "5")
    assert "5 queues asked for, nic0 has 4" in said, said
    assert lab.cli("uplink", "set", "nic0", "--queues", "0")["effectiveQueues"] == 4
    lab.wait_up("vm1")
    for queue in range(4):
        nic.send_flow(vm.mac, WIRE_MAC, queue, BURST, queue=queue)
        assert vm.wait_flow(queue, BURST) == list(range(BURST))


def test_checked_repeated_and_restored(lab, veth):
    """What holds for every change: validate_only, request_id, kill -9, a start."""
    set_channels(lab.host, "eth1", 2)
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))

    def update(client, queues, **how):
        return client.UpdateUplink(uplink={"name": "uplinks/eth1", "queues": queues},
                                   update_mask={"paths": ["queues"]}, **how)

    with Client(lab.daemon.address) as client:
        assert update(client, 4, validate_only=True).queues == 4
        assert served(lab) == 2 and channels(lab.host, "eth1") == (2, 2)
        first = update(client, 4, request_id="once")
        again = update(client, 4, request_id="once")
        assert first.etag == again.etag and len(events(lab, "QUEUES_SET")) == 1
        update(client, 4)  # no change
        assert len(events(lab, "QUEUES_SET")) == 1
    lab.daemon.kill()
    lab.daemon.start()
    assert served(lab) == 4 and channels(lab.host, "eth1") == (4, 4)
    check(lab, veth.outside, [vm], 0)
    lab.daemon.stop()
    assert channels(lab.host, "eth1") == (2, 2)


@pytest.mark.parametrize("round", range(3))
def test_killed_in_the_middle(lab, veth, round):
    """Whenever it dies, the next daemon has the old number or the new one, and in the end the
    device has its own again."""
    set_channels(lab.host, "eth1", 2)
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    lab.conserves = False
    for turn, queues in enumerate((6, 3, 8)):
        setting = lab.host.start(CLI, "--address", lab.daemon.address, "uplink", "set", "eth1",
                                 "--queues", queues)
        # Once the kernel has been asked, or a little later.
        wait_until(lambda: channels(lab.host, "eth1")[0] == queues or setting.poll() is not None,
                   PATIENCE, interval=0.001 * (round + 1), what="the change under way")
        lab.daemon.kill()
        setting.wait()
        lab.daemon.start()
        now = served(lab)
        assert channels(lab.host, "eth1") == (now, now)
        check(lab, veth.outside, [vm], 100 * turn)
    lab.daemon.stop()
    assert channels(lab.host, "eth1") == (2, 2)


def test_queues_that_come_by_themselves_are_served(lab, veth):
    """Where the uplink asks for all there are; one that asks for a number keeps it."""
    set_channels(lab.host, "eth1", 2)
    lab.start()
    lab.cli("uplink", "add", "eth1", "--queues", "2")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    set_channels(lab.host, "eth1", 4)
    assert served(lab) == 2
    lab.cli("uplink", "set", "eth1", "--queues", "0")
    wait_until(lambda: served(lab) == 4, PATIENCE, what="all queues")
    check(lab, veth.outside, [vm], 0)
    assert number(lab.cli("switch", "show"), "workerCount") == 4


def test_busy_polling_says_why_not(lab, veth):
    """No socket on a veth is told a NAPI: nothing is changed, and the frames flow."""
    lab.start()
    lab.cli("uplink", "add", "eth1", "--busy-poll")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    state = lab.cli("uplink", "show", "eth1")["busyPollState"]
    assert state == "queues 0,1,2,3,4,5,6,7: not busy polled, its socket has not been told a NAPI"
    assert not [words for words in lab.cli("uplink", "show", "eth1")["changedSettings"]
                if "deferred" in words]
    check(lab, veth.outside, [vm], 0)
    shown = lab.cli("uplink", "set", "eth1", "--no-busy-poll")
    assert not shown.get("busyPollState") and not shown.get("busyPoll")
    assert lab.cli("uplink", "set", "eth1", "--busy-poll")["busyPoll"]
    lab.daemon.stop()
    lab.daemon.start()
    assert lab.cli("uplink", "show", "eth1")["busyPollState"] == state
