"""vhost-user ports with a front end that nobody here wrote: net_virtio_user of DPDK's testpmd.

What must stay true whatever the front end asks for, split or packed rings, mergeable buffers or
not, in order or not, one queue pair or four, rings of 64 to 4096 entries, as client or as server:
every frame arrives as it was sent, byte by byte, and every frame is counted; and a front end that
comes, goes or dies changes its own port only.
"""

import json
import random
import time

import pytest

from tests.lab import frames, testpmd
from tests.lab.endpoints import wait_until
from tests.lab.testpmd import Testpmd, front_end
from tests.lab.vmqd import number

WIRE = "10.0.0.254"
SENT = 16 << 20  # bytes of a TCP stream
WINDOW = 16      # frames on their way at most: none is lost for want of room in the smallest ring


@pytest.fixture(autouse=True)
def program():
    try:
        testpmd.program()
    except testpmd.Unavailable as reason:
        pytest.skip(str(reason))


def pattern(dst, src, flow, seq, length):
    """A numbered frame of `length` bytes, every other byte of it random, but the same each time."""
    content = random.Random(f"{flow} {seq}").randbytes(length)
    head = frames.numbered(dst, src, flow, seq)[:14 + frames.NUMBER.size]
    return head + content[len(head):]


def lengths(largest):
    """What a copy may get wrong: the shortest, the longest, and around every power of two."""
    found = {60, 61, largest - 1, largest}
    for power in (6, 7, 8, 9, 10, 11, 12, 13):
        found |= {(1 << power) + more for more in (-13, -12, -1, 0, 1)}
    return sorted(length for length in found if 60 <= length <= largest)


def exact(sender, receiver, flow, largest=1514, rounds=3):
    """Frames of all lengths, again and again so that small rings wrap; in order, unchanged."""
    sent = []
    for length in lengths(largest) * rounds:
        sent.append(pattern(receiver.mac, sender.mac, flow, len(sent), length))
        sender.send(sent[-1])
        if len(sent) % WINDOW == 0:
            receiver.wait_flow(flow, len(sent), 30)
    receiver.wait_flow(flow, len(sent), 30)
    found = [(frames.number_of(item.frame), item.frame) for item in receiver.frames]
    got = [frame for place, frame in found if place and place[0] == flow]
    assert len(got) == len(sent), f"{len(got)} of {len(sent)} frames"
    for place, (was, should) in enumerate(zip(got, sent)):
        assert was == should, f"frame {place} of {len(should)} bytes is not what was sent"


def vhost(lab, port):
    return lab.cli("port", "show", port)["vhost"]


def check_agreed(lab, port, queues, queue_size, **how):
    """Port show says what the front end was told to ask for."""
    told = vhost(lab, port)
    assert told["connected"] and "lastFault" not in told or not told["lastFault"], told
    wanted = {"RING_PACKED": how.get("packed", False), "IN_ORDER": how.get("in_order", True),
              "MRG_RXBUF": how.get("mergeable", True)}
    assert {name: name in told["features"] for name in wanted} == wanted, told
    rings = {int(ring.get("index", 0)): ring for ring in told["rings"] if ring.get("running")}
    assert sorted(rings) == list(range(2 * queues)), told
    assert {ring["size"] for ring in rings.values()} == {queue_size}, told
    assert all(ring.get("enabled") for ring in rings.values()), told


# One row a process: what differs from net_virtio_user's own settings. Together they pair every
# value of each setting with every value of each other that matters to a ring.
FRONT_ENDS = [
    {},
    {"queue_size": 64},
    {"queue_size": 4096, "in_order": False},
    {"queue_size": 512, "mergeable": False},
    {"queue_size": 1024, "mergeable": False, "in_order": False},
    {"queue_size": 64, "in_order": False, "queues": 4, "mergeable": False},
    {"queues": 4, "queue_size": 2048, "listens": True},
    {"packed": True},
    {"packed": True, "queue_size": 64, "mergeable": False, "listens": True},
    {"packed": True, "queue_size": 4096, "mergeable": False, "in_order": False},
    {"packed": True, "queue_size": 1024, "in_order": False, "queues": 4},
    {"packed": True, "queue_size": 64, "queues": 4, "listens": True},
]


def label(how):
    return "-".join(key if value is True else f"no_{key}" if value is False else f"{key}_{value}"
                    for key, value in how.items()) or "stock"


@pytest.mark.parametrize("how", FRONT_ENDS, ids=label)
def test_frames_arrive_as_sent(lab, how):
    """From VM to VM and back, to the wire and back."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    vms = lab.vhost_vms({"vm1": 1, "vm2": 2}, **how)
    first, second = (lab.packet(vm, mac=frames.vm_mac(index)) for index, vm in enumerate(vms, 1))
    outside = lab.packet(wire, "wire0", wire.links()["wire0"]["address"])
    for port in ("vm1", "vm2"):
        check_agreed(lab, port, **({"queues": 1, "queue_size": 256} | how))
    exact(first, second, 1)
    exact(second, first, 2)
    exact(first, outside, 3)
    exact(outside, first, 4)
    vms[0].ping("10.0.0.2")


@pytest.mark.parametrize("mergeable", [True, False], ids=["mergeable", "large"])
def test_jumbo_frames_arrive_as_sent(lab, mergeable):
    wire = lab.wire()
    lab.host.ip("link", "set", "eth1", "mtu", 9000)
    wire.ip("link", "set", "wire0", "mtu", 9000)
    lab.start(uplink="eth1")
    vms = lab.vhost_vms({"vm1": 1, "vm2": 2}, "--mtu", 9000, mtu=9000, mergeable=mergeable)
    first, second = (lab.packet(vm, mac=frames.vm_mac(index)) for index, vm in enumerate(vms, 1))
    exact(first, second, 1, 9014, 1)
    exact(second, first, 2, 9014, 1)
    vms[0].ping("10.0.0.2", 3, "-M", "do", "-s", 9000 - 28)
    outside = lab.packet(wire, "wire0", wire.links()["wire0"]["address"])
    exact(first, outside, 3, 9014, 1)
    exact(outside, first, 4, 9014, 1)
    wire.ping("10.0.0.1", 3, "-M", "do", "-s", 9000 - 28)
    for source, target, address in ((vms[0], wire, WIRE), (wire, vms[1], "10.0.0.2")):
        iperf(source, target, address)


def iperf(source, target, address, *options):
    """Segments that nobody cut would take minutes. What is on its way at the end does not count."""
    server = target.start("iperf3", "-s", "-1")
    wait_until(lambda: ":5201" in target.run("ss", "-ltn").stdout, 30, what="iperf3 listening")
    done = source.run("timeout", "90", "iperf3", "-c", address, "-n", SENT, "-J", *options,
                      check=False, timeout=120)
    server.terminate()
    server.wait()
    assert done.returncode == 0, f"{options}: {done.stdout[-500:]}{done.stderr}"
    assert json.loads(done.stdout)["end"]["sum_received"]["bytes"] > SENT / 4


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_namespaces_as_vms_talk_tcp(lab, packed):
    wire = lab.wire()
    lab.start(uplink="eth1")
    first, second = lab.vhost_vms({"vm1": 1, "vm2": 2}, packed=packed, queue_size=1024)
    for size in (0, 18, 1472):
        first.ping("10.0.0.2", 2, "-s", size)
        wire.ping("10.0.0.1", 2, "-s", size)
    for source, target, address in ((first, second, "10.0.0.2"), (first, wire, WIRE),
                                    (wire, second, "10.0.0.2")):
        for options in ((), ("-R", "-P", "4")):
            iperf(source, target, address, *options)


def generator_pair(lab, **how):
    """(sends, receives): a process each, on ports vm1 and vm2, neither started yet."""
    pair = []
    for index in (1, 2):
        socket = lab.vhost_port(f"vm{index}", index, queues=how.get("queues", 1))
        device = front_end(socket, frames.vm_mac(index), **how)
        pair.append(Testpmd(lab.host, lab.directory, [device], queues=how.get("queues", 1),
                            mode="rxonly", start=False))
        lab.stack.callback(pair[-1].close)
        lab.wait_up(f"vm{index}")
    pair[0].command(f"set eth-peer 0 {frames.vm_mac(2)}")
    pair[1].command(f"set eth-peer 0 {frames.vm_mac(1)}")
    return pair


def settled(lab, sender, receiver):
    """Statistics of both and the ports' counters, once all that was sent has been dealt with."""
    lab.conservation()
    sent = wait_until(lambda: [count] if (count := sender.statistics().tx_packets) ==
                      port_count(lab, "vm1", "inPkts") else [], 30, 0.1, what="all counted")[0]
    got = wait_until(lambda: [count] if (count := receiver.statistics().rx_packets) ==
                     port_count(lab, "vm2", "outPkts") else [], 30, 0.1, what="all received")[0]
    return sent, got


def port_count(lab, port, field):
    return number(lab.cli("port", "show", port)["counters"], field)


def run_for_packets(sender, receiver, count):
    """`sender` at full speed until `receiver` has `count`; for as long as that takes here."""
    sender.start()
    wait_until(lambda: receiver.statistics().rx_packets >= count, 60, 0.1, what="frames arriving")
    sender.stop()


@pytest.mark.parametrize("how", [{}, {"packed": True}, {"mergeable": False, "queue_size": 1024},
                                 {"queues": 4}, {"packed": True, "queues": 4}], ids=label)
def test_generated_traffic(lab, how):
    """txonly -> rxonly, all sizes and segments a sender may use; then there and back."""
    lab.nic()  # nobody there says anything: all that arrives was made by the sender
    lab.start(uplink="nic0")
    sender, receiver = generator_pair(lab, **how)
    receiver.start()
    for sizes in ("64", "1514", "64,200,1000"):  # the last one as a chain of descriptors
        sender.command("set fwd txonly")
        sender.command(f"set txpkts {sizes}")
        before = receiver.statistics()
        run_for_packets(sender, receiver, before.rx_packets + 5000)
        settled(lab, sender, receiver)
        after = receiver.statistics()
        size = sum(map(int, sizes.split(",")))
        assert after.rx_bytes - before.rx_bytes == size * (after.rx_packets - before.rx_packets)
        assert not after.rx_errors
    receiver.mode("mac")  # to its eth-peer, the sender
    # flowgen has addresses of its own.
    lab.cli("port", "set", "vm1", "--trusted")
    lab.cli("port", "set", "vm2", "--mac", f"{frames.vm_mac(2)},00:01:02:03:04:01")
    sender.command("set fwd flowgen")
    sender.clear_statistics()
    sender.start()
    wait_until(lambda: sender.statistics().rx_packets > 2000, 60, 0.1, what="frames coming back")
    sender.stop()
    receiver.stop()
    lab.conservation()


def test_generated_frames_arrive_as_made(lab):
    """What txonly sends is known: every header of it reaches a packet socket unchanged."""
    lab.wire()
    lab.start(uplink="eth1")
    vm = lab.vhost_vm("vm2", 2)
    packets = lab.packet(vm, mac=frames.vm_mac(2))
    socket = lab.vhost_port("vm1", 1)
    with Testpmd(lab.host, lab.directory, [front_end(socket, frames.vm_mac(1))], mode="txonly",
                 start=False) as sender:
        lab.wait_up("vm1")
        sender.command(f"set eth-peer 0 {frames.vm_mac(2)}")
        sender.command("set txpkts 64,100,200")
        sender.start()
        udp = lambda frame: frame[12:14] == b"\x08\0" and frame[23] == frames.UDP
        packets.expect(udp, 30)
        sender.stop()
    got = [frames.parse(item.frame) for item in packets.frames if udp(item.frame)]
    assert {(packet.src, packet.dst, packet.sport, packet.dport, len(packet.payload))
            for packet in got} == {(frames.vm_mac(1), frames.vm_mac(2), 9, 9, 364 - 42)}


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_front_end_comes_and_goes(lab, packed):
    """Killed or ended, and another one: its port goes down and up, the other port never notices."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    lab.vhost_vm("vm1", 1)
    socket = lab.vhost_port("vm2", 2)
    connections = int(vhost(lab, "vm1")["connections"])
    for end in ("kill", "quit") * 3:
        device = front_end(socket, frames.vm_mac(2), packed=packed)
        with Testpmd(lab.host, lab.directory, [device], mode="macswap") as front:
            lab.wait_up("vm2")
            getattr(front, end)()
        wait_until(lambda: lab.cli("port", "show", "vm2")["operStatus"] == "DOWN", 30,
                   what="port vm2 down")
        assert not vhost(lab, "vm2").get("connected")
        wire.ping("10.0.0.1", 2)
    assert int(vhost(lab, "vm1")["connections"]) == connections
    assert int(vhost(lab, "vm2")["connections"]) >= 6


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_switch_comes_and_goes(lab, packed):
    """A front end that listens is found again by the next daemon, and by the one after a crash."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    lab.conserves = False
    vm = lab.vhost_vm("vm1", 1, listens=True, packed=packed)
    wire.ping("10.0.0.1")
    for end in (lab.daemon.stop, lab.daemon.kill):
        end()
        time.sleep(0.2)  # long enough for the front end to notice
        lab.daemon.start()
        wait_until(lambda: wire.ping("10.0.0.1", 1, check=False), 60, what="the VM back")
        wire.ping("10.0.0.1")
        assert vm.testpmd.running()


def test_front_end_that_listens_before_it_is_asked(lab):
    """The VMM's socket first, the port later; and one nobody listens at is waited for."""
    wire = lab.wire()
    lab.start(uplink="eth1")
    socket = lab.vhost_port("vm1", 1, listens=True)
    assert lab.cli("port", "show", "vm1")["operStatus"] == "DOWN"
    lab.cli("port", "del", "vm1")
    device = front_end(socket, frames.vm_mac(1), listens=True)
    with Testpmd(lab.host, lab.directory, [device], mode="rxonly", waiting=True) as front:
        time.sleep(0.5)  # it waits by itself
        assert lab.vhost_port("vm1", 1, listens=True) == socket
        front.wait_for_start()
        lab.wait_up("vm1")
        outside = lab.packet(wire, "wire0")
        before = front.statistics().rx_packets
        for place in range(10):
            outside.send(frames.numbered(frames.vm_mac(1), frames.vm_mac(77), 1, place))
        wait_until(lambda: front.statistics().rx_packets >= before + 10, 30, what="frames")
