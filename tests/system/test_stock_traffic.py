"""Wire, VMs and host reach each other with the settings they come with: nobody runs ethtool."""

import json

import pytest

from tests.lab import frames
from tests.lab.endpoints import wait_until

# address in namespace, IPv6 address
WIRE, HOST, VM1, VM2 = "10.0.0.254", "10.0.0.253", "10.0.0.1", "10.0.0.2"
PLACES = {"wire": (WIRE, "fd00::fe"), "host": (HOST, "fd00::fd"), "vm1": (VM1, "fd00::1"),
          "vm2": (VM2, "fd00::2")}
WAYS = [("wire", "vm1"), ("vm1", "wire"), ("vm1", "vm2"), ("vm2", "vm1"), ("wire", "vm2"),
        ("vm2", "wire"), ("host", "vm1"), ("vm1", "host"), ("wire", "host"), ("host", "vm2")]
TCP_FLOOR = 2e6  # bits/s; a path that hands over segments it should cut gets 0.2e6


@pytest.fixture
def places(lab):
    """vm1 is a veth pair vmqd made, vm2 one the test made; the host has its own port."""
    wire = lab.wire("eth1")
    lab.start(uplink="eth1")
    vm1, vm2 = lab.veth_vm("vm1", 1), lab.netdev_vm("vm2", 2)
    host = lab.host_port("vhost0", 253)
    lab.host.sysctl("net/ipv6/conf/vhost0/disable_ipv6", 0)
    lab.host.ip("addr", "replace", "fd00::fd/64", "dev", "vhost0", "nodad")
    return {"wire": wire, "host": host, "vm1": vm1, "vm2": vm2}


@pytest.mark.core
def test_ping_and_arp(places):
    for source in PLACES:
        for target, (address, _) in PLACES.items():
            if source != target:
                places[source].ping(address)


def test_ping_ipv6_and_neighbour_discovery(places):
    for source in PLACES:
        for target, (_, address) in PLACES.items():
            if source != target:
                places[source].ping(address, 3, "-6")


def test_ping_of_every_size(places):
    """The largest frame the MTU allows, and fragments of a datagram that is larger."""
    for size in (0, 1, 18, 1472, 1473, 8000):
        places["wire"].ping(VM1, 2, "-s", size)
        places["vm1"].ping(VM2, 2, "-s", size)


def iperf(places, source, target, *options, v6=False):
    """iperf3 from source to target; its report."""
    address = PLACES[target][1 if v6 else 0]
    server = places[target].start("iperf3", "-s", "-1", "-p", "5201")
    listens = lambda: ":5201" in places[target].run("ss", "-ltn").stdout
    wait_until(listens, what="iperf3 listening")
    report = places[source].run("timeout", "15", "iperf3", "-c", address, "-p", "5201", "-t", "1.5",
                                "-J", "--connect-timeout", "3000", *options, check=False)
    server.terminate()
    assert report.returncode == 0, f"{source} -> {target}: {report.stdout[-300:]}{report.stderr}"
    return json.loads(report.stdout)["end"]


@pytest.mark.parametrize("source,target", WAYS)
def test_tcp(places, source, target):
    received = iperf(places, source, target)["sum_received"]
    assert received["bits_per_second"] > TCP_FLOOR, received


@pytest.mark.parametrize("source,target", WAYS[:3])
def test_tcp_ipv6(places, source, target):
    received = iperf(places, source, target, v6=True)["sum_received"]
    assert received["bits_per_second"] > TCP_FLOOR, received


def test_tcp_both_directions_many_flows(places):
    for options in (("-P", "8"), ("-R",), ("-R", "-P", "8")):
        received = iperf(places, "vm1", "wire", *options)["sum_received"]
        assert received["bits_per_second"] > TCP_FLOOR, (options, received)


@pytest.mark.measures  # datagrams are lost where somebody else needs the CPU
@pytest.mark.parametrize("source,target", WAYS)
def test_udp(places, source, target):
    report = iperf(places, source, target, "-u", "-b", "20M", "-l", "1200")["sum"]
    assert report["packets"] > 1000 and report["lost_percent"] < 1, report


def test_host_keeps_using_the_nic(places, lab):
    """Frames for nobody on the switch are the host's: its address on the uplink still answers."""
    lab.host.address("eth1", "10.1.0.1/24")
    places["wire"].address("wire0", "10.1.0.2/24")
    places["wire"].ping("10.1.0.1")
    lab.host.ping("10.1.0.2")
    assert int(lab.cli("uplink", "show", "eth1").get("toHostPkts", 0)) >= 6


def test_jumbo_mtu(lab):
    """An uplink with a 9000-byte MTU attaches; so do its VMs, and are told so."""
    wire = lab.wire("eth1")
    lab.host.ip("link", "set", "eth1", "mtu", "9000")
    wire.ip("link", "set", "wire0", "mtu", "9000")
    lab.start(uplink="eth1")
    uplink = lab.cli("uplink", "show", "eth1")
    vm = lab.veth_vm("vm1", 1)
    port = lab.cli("port", "show", "vm1")
    assert uplink["mtu"] == 9000 and port["effectiveMtu"] == 9000
    assert uplink["maxFrameLen"] == 9018
    device = vm.links()["eth0"]
    assert device["mtu"] == port["effectiveMtu"], "the peer was not told the MTU that works"
    largest = port["effectiveMtu"] - 28
    vm.ping("10.0.0.254", 3, "-M", "do", "-s", largest)
    places = {"wire": wire, "vm1": vm}
    for source, target in (("vm1", "wire"), ("wire", "vm1")):
        received = iperf(places, source, target)["sum_received"]
        assert received["bits_per_second"] > TCP_FLOOR, received


@pytest.mark.core
def test_tap_vm_answers_wire(lab):
    """ARP, ICMP and neighbour discovery reach a tap VM untouched, with correct checksums."""
    wire = lab.wire("eth1")
    lab.start(uplink="eth1")
    vm = lab.tap_vm("tap1", frames.vm_mac(1))
    wire.start("ping", "-c", "1", "10.0.0.77")
    wire.start("ping", "-6", "-c", "1", "fd00::77")
    arp = vm.expect(lambda f: f[12:14] == b"\x08\x06")
    solicitation = vm.expect(lambda f: f[12:14] == b"\x86\xdd" and f[54:55] == b"\x87")
    assert frames.parse(arp.frame).dst == frames.BROADCAST
    assert frames.parse(solicitation.frame).dst.startswith("33:33:ff")
    far = lab.packet(wire, "wire0")
    vm.send(frames.arp_request(vm.mac, "10.0.0.1", "10.0.0.254"))
    far.expect(lambda f: f[12:14] == b"\x08\x06" and f[6:12] == frames.mac_bytes(vm.mac))
    vm.expect(lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2")  # the wire's ARP reply
    wire_mac = wire.links()["wire0"]["address"]
    vm.send(frames.icmp_echo(wire_mac, vm.mac, "10.0.0.1", "10.0.0.254"))
    reply = vm.expect(lambda f: f[12:14] == b"\x08\x00" and f[23] == frames.ICMP)
    assert frames.checksum(reply.frame[34:34 + 12]) == 0
    vm.send(frames.neighbour_solicitation(vm.mac, "fd00::1", "fd00::fe"))
    vm.expect(lambda f: f[12:14] == b"\x86\xdd" and f[54:55] == b"\x88")
