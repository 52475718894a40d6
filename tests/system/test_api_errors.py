"""Every error of the API, one table: what is asked -> exit code, canonical code, reason, field at
fault, and words the sentence must contain (the value among them). A refused call changes nothing:
what the daemon shows and the devices of its namespace are compared before and after.

The shape of a request as only a program can get it wrong (unknown enum values, page tokens, update
masks) is covered by tests/rpc, which needs no devices.
"""

import dataclasses
import re

import pytest

from tests.lab import frames
from tests.lab.vmqd import OK, REFUSED, UNREACHABLE, USAGE, run, CLI

MAC, TAKEN = frames.vm_mac(100), frames.vm_mac(1)
INVALID, ABSENT, TAKEN_CODE, STATE = ("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS",
                                      "FAILED_PRECONDITION")
LONG = "a" * 16
TAP = ("--tap", "tap9", "--mac", MAC)


@dataclasses.dataclass
class Row:
    words: str
    code: str
    reason: str
    field: str
    sentence: tuple

    def __str__(self):
        return self.words.replace(" ", "_").replace("/", "|")[:60]


def row(words, code, reason, field, *sentence):
    return Row(words, code, reason, field, sentence)


REFUSALS = [
    # uplinks
    row("uplink add nosuch", STATE, "NO_SUCH_DEVICE", "uplink.device", "nosuch"),
    row(f"uplink add {LONG}", INVALID, "DEVICE_NAME_MALFORMED", "uplink.device", LONG, "1-15"),
    row("uplink add a/b", INVALID, "DEVICE_NAME_MALFORMED", "uplink.device", "a/b", "'/'"),
    row("uplink add nic1 --id a/b", INVALID, "ID_MALFORMED", "uplink_id", "a/b", "1-63"),
    row(f"uplink add nic1 --id {'a' * 64}", INVALID, "ID_MALFORMED", "uplink_id", "1-63"),
    row("uplink add nic1 --id -", INVALID, "ID_MALFORMED", "uplink_id", '"-"'),
    row("uplink add nic1 --queues 3", STATE, "QUEUE_OUT_OF_RANGE", "uplink.queues", "3", "2"),
    row("uplink add nic1 --queues 65", INVALID, "QUEUE_OUT_OF_RANGE", "uplink.queues", "65", "64"),
    row("uplink add nic1 --buffers 3000", INVALID, "BUFFERS_OUT_OF_RANGE",
        "uplink.buffers_per_queue", "3000", "2048", "131072"),
    row("uplink add nic1 --buffers 1024", INVALID, "BUFFERS_OUT_OF_RANGE",
        "uplink.buffers_per_queue", "1024"),
    row("uplink add nic0", TAKEN_CODE, "UPLINK_EXISTS", "uplink_id", "nic0"),
    row("uplink add nic0 --id other", TAKEN_CODE, "DEVICE_IN_USE", "uplink.device", "nic0"),
    row("uplink add nic1 --id nic0", TAKEN_CODE, "UPLINK_EXISTS", "uplink_id", "nic0"),
    row("uplink add vm1", TAKEN_CODE, "DEVICE_IN_USE", "uplink.device", "vm1"),
    row("uplink add lo", STATE, "DEVICE", "uplink.device", "lo"),
    row("uplink show nosuch", ABSENT, "NOT_FOUND", "name", "nosuch"),
    row("uplink del nosuch", ABSENT, "NOT_FOUND", "name", "nosuch"),
    row("uplink del nic0", STATE, "UPLINK_IN_USE", "name", "nic0", "port"),
    row("uplink show a/b", INVALID, "NAME_MALFORMED", "name", "a/b"),
    # queues
    row("queue show nic0 4", ABSENT, "NOT_FOUND", "name", "4", "nic0"),
    row("queue show nosuch 0", ABSENT, "NOT_FOUND", "name", "nosuch"),
    row("queue list --uplink nosuch", ABSENT, "NOT_FOUND", "parent", "nosuch"),
    # ports: names and devices
    row(f"port add Upper --tap tap9 --mac {MAC}", INVALID, "ID_MALFORMED", "port_id", "Upper"),
    row(f"port add a/b --tap tap9 --mac {MAC}", INVALID, "ID_MALFORMED", "port_id", "a/b"),
    row(f"port add {'p' * 64} --tap tap9 --mac {MAC}", INVALID, "ID_MALFORMED", "port_id", "1-63"),
    row(f"port add p --tap {LONG} --mac {MAC}", INVALID, "DEVICE_NAME_MALFORMED", "port.device",
        LONG, "1-15"),
    row(f"port add p --tap a/b --mac {MAC}", INVALID, "DEVICE_NAME_MALFORMED", "port.device",
        "a/b"),
    row(f"port add p --veth k,{LONG} --mac {MAC}", INVALID, "DEVICE_NAME_MALFORMED",
        "port.peer_device", LONG),
    row(f"port add p --veth same,same --mac {MAC}", INVALID, "DEVICE_NAME_REPEATED",
        "port.peer_device", "same"),
    row(f"port add p --netdev nosuch --mac {MAC}", STATE, "NO_SUCH_DEVICE", "port.device",
        "nosuch"),
    row(f"port add p --netdev nic0 --mac {MAC}", TAKEN_CODE, "DEVICE_IN_USE", "port.device",
        "nic0"),
    row(f"port add p --netdev vm1 --mac {MAC}", TAKEN_CODE, "DEVICE_IN_USE", "port.device", "vm1"),
    row(f"port add p --tap nic1 --mac {MAC}", TAKEN_CODE, "DEVICE_EXISTS", "port.device", "nic1"),
    row(f"port add p --tap vm1 --mac {MAC}", TAKEN_CODE, "DEVICE_IN_USE", "port.device", "vm1"),
    row(f"port add p --veth nic1,p-p --mac {MAC}", TAKEN_CODE, "DEVICE_EXISTS", "port.device",
        "nic1"),
    row(f"port add p --veth nic1 --mac {MAC}", TAKEN_CODE, "DEVICE_EXISTS", "port.peer_device",
        "nic1"),
    row(f"port add p --host nic1 --mac {MAC}", TAKEN_CODE, "DEVICE_EXISTS", "port.peer_device",
        "nic1"),
    row(f"port add vm1 --tap tap9 --mac {MAC}", TAKEN_CODE, "PORT_EXISTS", "port_id", "vm1"),
    # ports: vhost-user sockets
    row(f"port add p --vhost-user /tmp/p.sock --mac {MAC}", INVALID, "SOCKET_NAME_MALFORMED",
        "port.socket", "/tmp/p.sock", "1-63", "vhost_user.directory"),
    row(f"port add p --vhost-user ../p.sock --mac {MAC}", INVALID, "SOCKET_NAME_MALFORMED",
        "port.socket", "../p.sock"),
    row(f"port add p --vhost-user {'s' * 64} --mac {MAC}", INVALID, "SOCKET_NAME_MALFORMED",
        "port.socket", "1-63"),
    row(f"port add p --vhost-user p.sock --queue-pairs 17 --mac {MAC}", INVALID,
        "QUEUE_PAIRS_OUT_OF_RANGE", "port.queue_pairs", "17", "16"),
    row("port add p --vhost-user p.sock", INVALID, "FIELD_REQUIRED", "port.macs", "at least one"),
    row(f"port add p --tap tap9 --queue-pairs 2 --mac {MAC}", INVALID, "FIELD_NOT_ALLOWED",
        "port.queue_pairs", "VHOST_USER"),
    row(f"port add p --tap tap9 --vhost-role vmm-listens --mac {MAC}", INVALID,
        "FIELD_NOT_ALLOWED", "port.vhost_role", "VHOST_USER"),
    row(f"port add p --tap tap9 --no-coalescing --mac {MAC}", INVALID, "FIELD_NOT_ALLOWED",
        "port.coalescing_off", "VHOST_USER"),
    # ports: addresses
    row("port add p --tap tap9", INVALID, "FIELD_REQUIRED", "port.macs", "at least one"),
    row("port add p --netdev nic1", INVALID, "FIELD_REQUIRED", "port.macs", "at least one"),
    row("port add p --tap tap9 --mac 01:00:5e:00:00:01", INVALID, "MAC_NOT_UNICAST", "port.macs[0]",
        "01:00:5e:00:00:01", "even"),
    row("port add p --tap tap9 --mac ff:ff:ff:ff:ff:ff", INVALID, "MAC_NOT_UNICAST", "port.macs[0]",
        "ff:ff:ff:ff:ff:ff"),
    row("port add p --tap tap9 --mac 00:00:00:00:00:00", INVALID, "MAC_NOT_UNICAST", "port.macs[0]",
        "00:00:00:00:00:00"),
    row("port add p --tap tap9 --mac 02:00:00:00:00", INVALID, "MAC_MALFORMED", "port.macs[0]",
        "02:00:00:00:00"),
    row(f"port add p --tap tap9 --mac {MAC},nonsense", INVALID, "MAC_MALFORMED", "port.macs[1]",
        "nonsense"),
    row(f"port add p --tap tap9 --mac {MAC},{MAC}", INVALID, "MAC_REPEATED", "port.macs[1]", MAC),
    row("port add p --tap tap9 --mac " + ",".join(map(frames.vm_mac, range(200, 265))), INVALID,
        "TOO_MANY_MACS", "port.macs", "65", "64"),
    row(f"port add p --tap tap9 --mac {TAKEN}", TAKEN_CODE, "MAC_IN_USE", "port.macs[0]", TAKEN,
        "vm1"),
    row(f"port add p --tap tap9 --mac {MAC},{TAKEN}", TAKEN_CODE, "MAC_IN_USE", "port.macs[1]",
        TAKEN, "vm1"),
    row("port add p --tap tap9 --mac 02:00:00:00:ff:01", TAKEN_CODE, "MAC_IN_USE", "port.macs[0]",
        "02:00:00:00:ff:01", "nic0"),
    # ports: numbers
    row(f"port add p {' '.join(TAP)} --vlan 4095", INVALID, "VLAN_OUT_OF_RANGE", "port.vlan",
        "4095", "4094"),
    row(f"port add p {' '.join(TAP)} --vlan 70000", INVALID, "VLAN_OUT_OF_RANGE", "port.vlan",
        "70000"),
    row(f"port add p {' '.join(TAP)} --weight 101", INVALID, "WEIGHT_OUT_OF_RANGE", "port.weight",
        "101", "100"),
    row(f"port add p {' '.join(TAP)} --mtu 70000", INVALID, "MTU_OUT_OF_RANGE", "port.mtu", "70000",
        "65535"),
    row(f"port add p {' '.join(TAP)} --mtu 67", INVALID, "MTU_OUT_OF_RANGE", "port.mtu", "67",
        "68"),
    row(f"port add p {' '.join(TAP)} --mtu 9000", INVALID, "MTU_OUT_OF_RANGE", "port.mtu", "9000"),
    row(f"port add p {' '.join(TAP)} --queue 4", INVALID, "QUEUE_OUT_OF_RANGE", "port.queue", "4",
        "3"),
    row(f"port add p {' '.join(TAP)} --uplink nosuch", STATE, "NO_SUCH_UPLINK", "port.uplink",
        "nosuch"),
    row(f"port add p {' '.join(TAP)} --uplink a/b", INVALID, "NAME_MALFORMED", "port.uplink",
        "a/b"),
    # ports: changes
    row("port set nosuch --vlan 5", ABSENT, "NOT_FOUND", "port.name", "nosuch"),
    row("port set vm1 --vlan 4095", INVALID, "VLAN_OUT_OF_RANGE", "port.vlan", "4095"),
    row("port set vm1 --weight 101", INVALID, "WEIGHT_OUT_OF_RANGE", "port.weight", "101"),
    row("port set vm1 --mtu 70000", INVALID, "MTU_OUT_OF_RANGE", "port.mtu", "70000"),
    row("port set vm1 --mtu 9000", INVALID, "MTU_OUT_OF_RANGE", "port.mtu", "9000"),
    row("port set vm1 --mac 01:00:00:00:00:01", INVALID, "MAC_NOT_UNICAST", "port.macs[0]",
        "01:00:00:00:00:01"),
    row(f"port set vm1 --mac {frames.vm_mac(2)}", TAKEN_CODE, "MAC_IN_USE", "port.macs[0]", "vm2"),
    row("port set red --vlan 0", TAKEN_CODE, "MAC_IN_USE", "port.macs[0]", TAKEN, "vm1"),
    row("port show nosuch", ABSENT, "NOT_FOUND", "name", "nosuch"),
    row("port show A", INVALID, "NAME_MALFORMED", "name", "A"),
    row("port del nosuch", ABSENT, "NOT_FOUND", "name", "nosuch"),
]

USAGE_ERRORS = [
    "", "uplink", "uplink add", "uplink frobnicate", "nosuch list", "uplink add nic1 --queues x",
    "uplink add nic1 --xdp-mode fast", "uplink add nic1 --steering maybe",
    "uplink add nic1 --wake-mode never", "uplink add nic1 --queues -1", "port add p",
    "port add p --vhost-user s --vhost-role both --mac 02:00:00:00:00:09",
    "port attach-help vm1 --vmm bochs",
    "port add p --tap t --netdev n --mac 02:00:00:00:00:09", "port set vm1",
    "port add p --tap tap9 --mac 02:00:00:00:00:09 --vlan x", "queue show nic0",
    "queue show nic0 x", "port list --no-such-flag", "-o xml port list", "--timeout 0 port list",
]


@pytest.fixture(scope="module")
def world():
    """One switch for the whole table: nothing in it may change, so the rows can share it."""
    from tests.lab.lab import Lab
    lab = Lab()
    try:
        lab.nic("nic0")
        lab.nic("nic1", 2, "02:00:00:00:ff:09")
        lab.start(uplink="nic0")
        for index in (1, 2):
            lab.tap_vm(f"vm{index}", frames.vm_mac(index))
        lab.tap_vm("red", TAKEN, "--vlan", "10")
        yield lab
        lab.finish()
    finally:
        lab.close()


VOLATILE = {"counters", "rates", "sockets", "busyPercent", "inPkts", "outPkts", "drops", "wakeups",
            "toHostPkts", "misplacedPkts", "buffersFree", "uptimeSeconds", "replicatedPkts", "napi",
            "loads", "otherPercent"}


def settled(message):
    """Without what changes by itself."""
    if isinstance(message, dict):
        return {key: settled(value) for key, value in message.items() if key not in VOLATILE}
    return [settled(item) for item in message] if isinstance(message, list) else message


def state(lab):
    shown = [settled(lab.cli(*words)) for words in (
        ("uplink", "list"), ("port", "list"), ("queue", "list"), ("switch", "show"))]
    links = {name: (link.get("mtu"), link.get("address"), sorted(link["flags"]), "xdp" in link)
             for name, link in lab.host.links().items()}
    return shown, links


@pytest.mark.core
@pytest.mark.parametrize("expected", REFUSALS, ids=str)
def test_refused(world, expected):
    before = state(world)
    done = world.call(*expected.words.split())
    assert done.returncode == REFUSED, done
    assert done.stdout == ""
    found = re.search(r"\n  ([A-Z_]+)(?:, reason ([A-Z_]+))?(?:, field (\S+))?\n$", done.stderr)
    assert found, done.stderr
    assert found.groups() == (expected.code, expected.reason, expected.field), done.stderr
    for word in expected.sentence:
        assert word in done.stderr[:found.start()], done.stderr
    assert state(world) == before


@pytest.mark.parametrize("words", USAGE_ERRORS)
def test_usage(world, words):
    before = state(world)
    done = world.call(*words.split())
    assert done.returncode == USAGE and "--help" in done.stderr and done.stdout == "", done
    assert state(world) == before


@pytest.mark.parametrize("address", ["unix:/nowhere/vmqd.sock", "127.0.0.1:1"])
def test_unreachable(address):
    done = run(CLI, "--address", address, "--timeout", "2", "port", "list", check=False)
    assert done.returncode == UNREACHABLE and address in done.stderr, done


def test_no_uplink_at_all(lab):
    lab.start()
    done = lab.call("port", "add", "p", *TAP)
    assert done.returncode == REFUSED and "field port.uplink" in done.stderr, done
    assert "tap9" not in lab.host.links()


def test_uplink_must_be_said_when_there_are_two(lab):
    lab.nic("nic0")
    lab.nic("nic1", 2, "02:00:00:00:ff:09")
    lab.start(uplink="nic0")
    lab.cli("uplink", "add", "nic1")
    done = lab.call("port", "add", "p", *TAP)
    assert done.returncode == REFUSED and "field port.uplink" in done.stderr, done
    assert "tap9" not in lab.host.links()


def test_buffers_run_out(lab):
    """A queue with few buffers takes so many ports; the next is refused and leaves nothing."""
    lab.nic(queues=1)
    lab.start()
    lab.cli("uplink", "add", "nic0", "--buffers", "2048")
    for index in range(100):
        done = lab.call("port", "add", f"p{index}", "--tap", f"p{index}", "--mac",
                        frames.vm_mac(index))
        if done.returncode:
            break
    assert done.returncode == REFUSED and "RESOURCE_EXHAUSTED" in done.stderr, done
    assert f"p{index}" not in lab.host.links()
    lab.cli("port", "del", "p0")
    lab.cli("port", "add", "again", "--tap", "again", "--mac", frames.vm_mac(500))


def test_may_exist_and_if_exists(lab):
    lab.nic("nic0")
    lab.start(uplink="nic0")
    lab.cli("port", "add", "p", *TAP)
    for words in (("uplink", "add", "nic0", "--may-exist"),
                  ("port", "add", "p", *TAP, "--may-exist"),
                  ("port", "del", "nosuch", "--if-exists"),
                  ("uplink", "del", "nosuch", "--if-exists")):
        assert lab.call(*words).returncode == OK, words
    other = lab.call("port", "add", "p", *TAP, "--vlan", "9", "--may-exist")
    assert other.returncode == REFUSED and "vlan" in other.stderr, other


def test_output_formats(lab):
    """The three forms say the same; tables are for people and have a header."""
    lab.nic("nic0")
    lab.start(uplink="nic0")
    lab.cli("port", "add", "p", *TAP)
    for words in (("uplink", "list"), ("port", "list"), ("queue", "list"),
                  ("uplink", "show", "nic0"), ("port", "show", "p"), ("queue", "show", "nic0", "0"), ("stats", "show"),
                  ("switch", "show"), ("version",)):
        for output in ("table", "json", "yaml"):
            done = lab.call(*words, output=output)
            assert done.returncode == OK and done.stdout.strip(), (words, output, done)
    table = lab.call("queue", "list", output="table").stdout
    assert MAC in table and "nic0" in table and len(table.splitlines()) >= 5, table
