"""A NIC that takes rules: vmqnic, in a VM, with vmqd and its ports on it.

What must stay true: a frame for a VM is delivered whichever queue the card puts it on. With hardware
steering the card puts it on the home queue, by rules that are there as long as vmqd and the port are,
and no longer; what the card refuses is told, and costs no frame.
"""

import re

import pytest

from tests.lab import frames, guest_image
from tests.lab.endpoints import wait_until
from tests.lab.vmqnic_guest import NIC, VmqnicGuest

VM1, VM2 = frames.vm_mac(1), frames.vm_mac(2)


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    """One VM for all tests of this file."""
    try:
        vm = VmqnicGuest(tmp_path_factory.mktemp("vmqnic"))
    except guest_image.Unavailable as reason:
        pytest.skip(str(reason))
    try:
        vm.set_up()
        yield vm
    finally:
        vm.close()


@pytest.fixture
def vm(booted, request):
    """The VM with a new card and a vmqd that knows nothing yet."""
    booted.plug()
    booted.start()
    try:
        yield booted
        if not getattr(request.node, "passed", False):
            for words in (("uplink", "list"), ("port", "list")):
                print(f"--- vmqd-cli {' '.join(words)}\n{booted.call(*words).output}")
            print(f"--- log of vmqd\n{booted.log()}")
    finally:
        booted.clean_up()
        booted.unplug()


def delivered(vm, port):
    return int(vm.run(f"cat /sys/class/net/{port}-p/statistics/rx_packets").output)


def check_delivered(vm, port, mac, count, vlan=None):
    """`count` frames of many flows reach the port; frames the card received by queue."""
    before = delivered(vm, port)
    received = vm.send(mac, count, vlan)
    wait_until(lambda: delivered(vm, port) == before + count, what=f"{count} frames at {port}")
    return received


def test_every_queue_reaches_the_vm(vm):
    """Nothing is asked of the card: the hash spreads the frames, vmqd puts them right."""
    vm.cli("uplink", "add", NIC)
    vm.add_vm("vm1", VM1)
    vm.add_vm("vm2", VM2, "--vlan", 20)
    for port, mac, vlan in (("vm1", VM1, None), ("vm2", VM2, 20)):
        received = check_delivered(vm, port, mac, 400, vlan)
        assert all(received), f"the hash left a queue out: {received}"
    uplink = vm.cli("uplink", "show", NIC)
    assert int(uplink["misplacedPkts"]) > 400 and not vm.rules()


def test_vm_and_wire_ping_each_other(vm):
    vm.cli("uplink", "add", NIC)
    vm.add_vm("vm1", VM1)
    vm.run("/opt/ip netns add vm1; /opt/ip link set vm1-p netns vm1; "
           "/opt/ip -n vm1 link set vm1-p up; /opt/ip -n vm1 addr add 10.0.0.1/24 dev vm1-p; "
           "/opt/ip -n wire addr add 10.0.0.254/24 dev vmqnic0-wire")
    try:
        vm.run("/opt/ip netns exec vm1 ping -c 3 -W 5 10.0.0.254")
        vm.run("/opt/ip netns exec wire ping -c 3 -W 5 10.0.0.1")
    finally:
        vm.run("/opt/ip netns del vm1")


# --- steering by the card


def steering(vm, kind, name):
    """(effective, why not the card)."""
    shown = vm.cli(kind, "show", name)
    return shown["effectiveSteering"], shown.get("effectiveSteeringReason", "")


def misplaced(vm):
    return int(vm.cli("uplink", "show", NIC).get("misplacedPkts", 0))


def home(vm, port):
    return int(vm.cli("port", "show", port)["effectiveQueue"])


def test_card_sends_frames_to_their_home_queue(vm):
    """Rules for (MAC) and (MAC, VLAN), one MAC in two VLANs among them; gone when vmqd is."""
    table = vm.indirection()
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vm("vm1", VM1)
    vm.add_vm("vm2", VM2)
    vm.add_vm("vm3", VM2, "--vlan", 20)
    homes = {port: home(vm, port) for port in ("vm1", "vm2", "vm3")}
    assert sorted(homes.values()) == [1, 2, 3]
    assert sorted(vm.rules().values(), key=str) == sorted(
        [(VM1, None, homes["vm1"]), (VM2, None, homes["vm2"]), (VM2, 20, homes["vm3"])], key=str)
    for port, mac, vlan in (("vm1", VM1, None), ("vm2", VM2, None), ("vm3", VM2, 20)):
        received = check_delivered(vm, port, mac, 200, vlan)
        assert received[homes[port]] == 200, f"{port} at home on {homes[port]}: {received}"
        assert steering(vm, "port", port) == ("HARDWARE", "")
    assert misplaced(vm) == 0 and steering(vm, "uplink", NIC) == ("HARDWARE", "")
    # What no rule names stays off the queues that rules feed.
    assert vm.indirection() == [0] * len(table)
    vm.cli("port", "del", "vm2")
    assert (VM2, None, homes["vm2"]) not in vm.rules().values()
    assert set(vm.indirection()) == {0, homes["vm2"]}
    vm.end()
    assert not vm.rules() and vm.indirection() == table and not vm.ntuple()


def test_rules_return_after_a_reset(vm):
    """Told by the link, and told by nobody; rules of somebody else stay what they are."""
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vm("vm1", VM1)
    vm.add_vm("vm2", VM2, "--vlan", 20)
    rules, table = sorted(vm.rules().values()), vm.indirection()
    for reset in (f"/opt/ip link set {NIC} down && /opt/ip link set {NIC} up",
                  f"/opt/ethtool --reset {NIC} all"):
        vm.run(reset)
        wait_until(lambda: sorted(vm.rules().values()) == rules and vm.indirection() == table, 20,
                   what=f"rules after {reset}")
        check_delivered(vm, "vm1", VM1, 100)
    assert misplaced(vm) == 0
    assert "RULES_LOST" in vm.call("event", "list").output


def test_rules_of_a_daemon_that_died(vm):
    """They stay in the card; the next daemon knows them, and puts back what was before them."""
    table = vm.indirection()
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vm("vm1", VM1)
    rules = vm.rules()
    vm.end("KILL")
    assert vm.rules() == rules
    vm.start()
    wait_until(lambda: vm.cli("port", "show", "vm1")["operStatus"] == "UP", 20, what="vm1 up")
    assert vm.rules() == rules
    check_delivered(vm, "vm1", VM1, 100)
    vm.end("KILL")
    vm.clean_up()
    assert not vm.rules() and vm.indirection() == table and not vm.ntuple()


@pytest.mark.parametrize("knob, why", [("refuse_rules", "no rules that send"),
                                       ("refuse_rules_while_bound", "sockets are bound")])
def test_card_refuses(vm, knob, why):
    table = vm.indirection()
    vm.set_knob(knob, 1)
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    effective, reason = steering(vm, "uplink", NIC)
    assert effective == "SOFTWARE" and why in reason, reason
    vm.add_vm("vm1", VM1)
    effective, reason = steering(vm, "port", "vm1")
    assert effective == "SOFTWARE" and why in reason, reason
    check_delivered(vm, "vm1", VM1, 200)
    assert misplaced(vm) > 100 and not vm.rules() and vm.indirection() == table
    assert not vm.ntuple()


def test_table_is_full(vm):
    """The port without a rule says so, works, and gets the place that becomes free."""
    vm.set_knob("rule_limit", 1)
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vm("vm1", VM1)
    vm.add_vm("vm2", VM2)
    effective, reason = steering(vm, "port", "vm2")
    assert effective == "SOFTWARE" and "full" in reason, reason
    assert "1 of 2 filters" in steering(vm, "uplink", NIC)[1]
    for port, mac in (("vm1", VM1), ("vm2", VM2)):
        check_delivered(vm, port, mac, 200)
    vm.cli("port", "del", "vm1")
    assert steering(vm, "port", "vm2") == ("HARDWARE", "")
    assert [rule[0] for rule in vm.rules().values()] == [VM2]


@pytest.mark.parametrize("knobs", [{"rule_vlan_mask": 0xFFFF, "rule_location_any": 1},
                                   {"rule_vlan_mask": 0x0FFF}], ids=str)
def test_drivers_differ(vm, knobs):
    for name, value in knobs.items():
        vm.set_knob(name, value)
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vm("vm1", VM1, "--vlan", 20)
    assert list(vm.rules().values()) == [(VM1, 20, home(vm, "vm1"))]
    check_delivered(vm, "vm1", VM1, 100, 20)
    assert misplaced(vm) == 0


def test_rule_goes_with_its_port(vm):
    """The port goes from queue to queue, and the card sends its frames after it."""
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vm("vm1", VM1)
    for queue in (3, 2, 0, 1):
        vm.cli("port", "set", "vm1", "--queue", queue)
        assert home(vm, "vm1") == queue
        assert [rule[2] for rule in vm.rules().values()] == [queue]
        received = check_delivered(vm, "vm1", VM1, 200)
        assert received[queue] == 200, f"at home on {queue}: {received}"
    assert misplaced(vm) == 0


# --- several queues of one VM


def check_spread(vm, port, mac, homes, vlan=None):
    """The card puts flows of the VM on all of these queues, and nowhere else; the VM gets them all."""
    before = sum(vm.received(port).values())
    got = vm.send(mac, 400, vlan)
    wait_until(lambda: sum(vm.received(port).values()) == before + 400, what=f"frames at {port}")
    used = {queue for queue, count in enumerate(got) if count}
    assert used == set(homes) and sum(got) == 400, f"{port} at home on {homes}: {got}"
    assert set(vm.received(port)) == set(range(len(homes))), "a pair of its queues was left out"


def test_flows_of_one_vm_on_several_queues(vm):
    """A context over exactly the VM's queues, one for all rules that need it; gone with the last."""
    table = vm.indirection()
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vhost("vm1", VM1, 2, "--queue", 2)
    vm.add_vhost("vm2", VM2, 2, "--queue", 2, "--vlan", 20)
    vm.add_vhost("vm3", VM2, 3, "--queue", 3)  # 3, 0 and 1
    assert sorted(vm.contexts().values(), key=sorted) == [{0, 1, 3}, {2, 3}]
    assert set(vm.rules().values()) == {(VM1, None, frozenset({2, 3})), (VM2, 20, frozenset({2, 3})),
                                        (VM2, None, frozenset({0, 1, 3}))}
    check_spread(vm, "vm1", VM1, {2, 3})
    check_spread(vm, "vm2", VM2, {2, 3}, 20)
    check_spread(vm, "vm3", VM2, {0, 1, 3})
    for port in ("vm1", "vm2", "vm3"):
        assert steering(vm, "port", port) == ("HARDWARE", "")
    assert misplaced(vm) == 0 and vm.indirection() == [0] * len(table)
    vm.cli("port", "del", "vm1")
    assert sorted(vm.contexts().values(), key=sorted) == [{0, 1, 3}, {2, 3}]
    vm.cli("port", "del", "vm2")
    assert list(vm.contexts().values()) == [{0, 1, 3}] and set(vm.indirection()) == {0, 2}
    vm.end()
    assert not vm.contexts() and not vm.rules() and vm.indirection() == table


def test_context_of_somebody_else_stays(vm):
    vm.ethtool("-X", "context", "new", "weight", "0", "0", "1", "1")
    theirs = vm.contexts()
    assert list(theirs.values()) == [{2, 3}]
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vhost("vm1", VM1, 2, "--queue", 2)
    check_spread(vm, "vm1", VM1, {2, 3})
    assert misplaced(vm) == 0
    vm.end()
    assert vm.contexts() == theirs and not vm.rules()


@pytest.mark.parametrize("knob, value, why", [("refuse_contexts", 1, "no RSS contexts"),
                                              ("context_limit", 1, "are taken")])
def test_card_has_no_context_for_it(vm, knob, value, why):
    """Its flows are spread with the rest, as without rules; what has a rule keeps it."""
    vm.set_knob(knob, value)
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vm("vm2", VM2, "--queue", 1)
    if knob == "context_limit":
        vm.add_vhost("vm3", VM2, 2, "--queue", 2, "--vlan", 20)
    vm.add_vhost("vm1", VM1, 2, "--queue", 1)
    effective, reason = steering(vm, "port", "vm1")
    assert effective == "SOFTWARE" and why in reason, reason
    assert why in steering(vm, "uplink", NIC)[1]
    assert steering(vm, "port", "vm2") == ("HARDWARE", "")
    by_queue = vm.send(VM1, 400)
    wait_until(lambda: sum(vm.received("vm1").values()) == 400, what="frames at vm1")
    assert all(by_queue[:3]) and misplaced(vm) > 0, by_queue
    if knob == "context_limit":
        vm.cli("port", "del", "vm3")
        assert steering(vm, "port", "vm1") == ("HARDWARE", "")
        check_spread(vm, "vm1", VM1, {1, 2})
    vm.end()
    assert not vm.contexts() and not vm.rules()


def test_contexts_return(vm):
    """After a reset, and with the daemon after one that died; none is there twice."""
    table = vm.indirection()
    vm.cli("uplink", "add", NIC, "--steering", "hardware")
    vm.add_vhost("vm1", VM1, 2, "--queue", 1)
    vm.add_vhost("vm2", VM2, 2, "--queue", 2)
    there = [sorted(vm.rules().values()), vm.contexts(), vm.indirection()]
    for reset in (f"/opt/ip link set {NIC} down && /opt/ip link set {NIC} up",
                  f"/opt/ethtool --reset {NIC} all"):
        vm.run(reset)
        wait_until(lambda: [sorted(vm.rules().values()), vm.contexts(), vm.indirection()] == there,
                   20, what=f"rules and contexts after {reset}")
        check_spread(vm, "vm1", VM1, {1, 2})
    vm.end("KILL")
    assert [sorted(vm.rules().values()), vm.contexts(), vm.indirection()] == there
    vm.start()
    wait_until(lambda: steering(vm, "port", "vm2") == ("HARDWARE", ""), 20, what="vm2 steered")
    assert [sorted(vm.rules().values()), vm.contexts(), vm.indirection()] == there
    vm.end("KILL")
    vm.clean_up()
    assert not vm.rules() and not vm.contexts() and vm.indirection() == table


# --- other numbers of queues


def channels(vm):
    now = vm.ethtool("-l").output.split("Current hardware settings:")[1]
    return int(re.search(r"Combined:\s+(\d+)", now)[1])


def test_card_gets_other_queues(vm):
    """With their rules, and a hash over what is left; in the end it has what it had."""
    had, table = channels(vm), vm.indirection()
    vm.cli("uplink", "add", NIC, "--steering", "hardware", "--queues", 2, "--buffers", 2048)
    vm.add_vm("vm1", VM1)
    vm.add_vm("vm2", VM2, "--vlan", 20)
    for queues in (2, 8, 3, 16, 2):
        shown = vm.cli("uplink", "set", NIC, "--queues", queues)
        assert shown["effectiveQueues"] == channels(vm) == queues
        homes = {port: home(vm, port) for port in ("vm1", "vm2")}
        assert sorted(vm.rules().values(), key=str) == sorted(
            [(VM1, None, homes["vm1"]), (VM2, 20, homes["vm2"])], key=str)
        assert set(vm.indirection()) == set(range(queues)) - set(homes.values()) or queues == 2
        for port, mac, vlan in (("vm1", VM1, None), ("vm2", VM2, 20)):
            received = check_delivered(vm, port, mac, 100, vlan)
            assert received[homes[port]] == 100 and len(received) == queues, received
    assert misplaced(vm) == 0
    vm.end()
    assert channels(vm) == had and vm.indirection() == table and not vm.rules()


# --- busy polling


def delay(vm):
    """How often, and how long, the card's interrupts are deferred."""
    return vm.run(f"cd /sys/class/net/{NIC} && cat napi_defer_hard_irqs gro_flush_timeout").output.split()


def polled(vm):
    """Frames that a process took from a card itself, in place of an interrupt."""
    names, numbers = (line.split() for line in vm.run("grep ^TcpExt: /proc/net/netstat").output.splitlines())
    return int(dict(zip(names, numbers))["BusyPollRxPackets"])


def busy_state(vm):
    return vm.cli("uplink", "show", NIC).get("busyPollState", "")


def test_busy_polling(vm):
    """Workers that never sleep take frames themselves; the card is as it was when they end."""
    vm.cli("uplink", "add", NIC, "--queues", 2, "--wake-mode", "poll", "--busy-poll")
    vm.add_vm("vm1", VM1, "--queue", 0)
    vm.add_vm("vm2", VM2, "--queue", 1)
    for port, mac in (("vm1", VM1), ("vm2", VM2)):  # a socket learns its NAPI by its first frame
        check_delivered(vm, port, mac, 200)
    wait_until(lambda: busy_state(vm) == "queues 0,1: busy polled", 20, what="busy polling")
    assert delay(vm) == ["2", "200000"]
    before = polled(vm)
    check_delivered(vm, "vm1", VM1, 400)
    check_delivered(vm, "vm2", VM2, 400)
    assert polled(vm) > before, "every frame came by an interrupt"
    vm.cli("uplink", "set", NIC, "--no-busy-poll")
    assert delay(vm) == ["0", "0"] and not busy_state(vm)
    before = polled(vm)
    check_delivered(vm, "vm1", VM1, 100)
    assert polled(vm) == before
    vm.cli("uplink", "set", NIC, "--busy-poll")
    assert delay(vm) == ["2", "200000"]
    vm.end("KILL")
    assert delay(vm) == ["2", "200000"], "nobody was there to put it back"
    vm.start()
    wait_until(lambda: vm.cli("port", "show", "vm1")["operStatus"] == "UP", 20, what="vm1 up")
    check_delivered(vm, "vm1", VM1, 100)
    vm.end()
    assert delay(vm) == ["0", "0"]
