"""The daemon's life: start, orderly end, sudden death, and other people's programs and settings."""

import os
import signal
import socket
import subprocess
import time

import pytest

from tests.lab import frames
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.namespaces import run
from tests.lab.vmqd import OK, REFUSED, UNREACHABLE, VMQD

FOREIGN = """#include <linux/bpf.h>
__attribute__((section("xdp"), used)) int foreign(struct xdp_md* ctx) { return 2; /* XDP_PASS */ }
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture
def foreign(tmp_path):
    """An XDP program that is not vmqd's."""
    source, program = tmp_path / "foreign.c", tmp_path / "foreign.o"
    source.write_text(FOREIGN)
    arch = run("gcc", "-print-multiarch").stdout.strip()
    run("clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{arch}", "-c", source, "-o",
        program)
    return program


@pytest.mark.parametrize("mode", ["xdpdrv", "xdpgeneric"])
@pytest.mark.parametrize("asked", ["native", "generic", "auto"])
def test_foreign_program_is_refused_and_left(lab, foreign, mode, asked):
    lab.wire("eth1")
    lab.host.foreign_xdp.add("eth1")
    lab.host.ip("link", "set", "eth1", mode, "obj", foreign, "sec", "xdp")
    before = lab.host.links()["eth1"]["xdp"]
    lab.start()
    done = lab.call("uplink", "add", "eth1", "--xdp-mode", asked)
    assert done.returncode == REFUSED and "eth1" in done.stderr and "XDP" in done.stderr, done
    assert lab.host.links()["eth1"]["xdp"] == before
    assert lab.cli("uplink", "list").get("uplinks", []) == []


def test_foreign_program_on_a_port_device(lab, foreign):
    lab.nic()
    lab.host.plugged.add("box")
    lab.host.ip("link", "add", "box", "type", "veth", "peer", "name", "box-p")
    lab.host.up("box", "box-p")
    lab.host.plugged.add("box-p")
    lab.host.ip("link", "set", "box", "xdpdrv", "obj", foreign, "sec", "xdp")
    lab.host.foreign_xdp.add("box")
    lab.start(uplink="nic0")
    done = lab.call("port", "add", "box", "--netdev", "box", "--mac", frames.vm_mac(1))
    assert done.returncode == REFUSED and "box" in done.stderr, done
    assert "xdp" in lab.host.links()["box"]
    assert lab.cli("port", "list").get("ports", []) == []


@pytest.mark.core
def test_kill_and_restart(lab):
    """After kill -9 the host's traffic flows, and a new daemon takes the same devices."""
    wire = lab.wire("eth1")
    lab.host.address("eth1", "10.1.0.1/24")
    wire.address("wire0", "10.1.0.2/24")
    lab.start(uplink="eth1")
    lab.tap_vm("vm1", frames.vm_mac(1))
    lab.veth_vm("vm2", 2)
    wire.ping("10.1.0.1")
    lab.daemon.kill()
    wait_until(lambda: "xdp" not in lab.host.links()["eth1"], what="the program gone")
    wire.ping("10.1.0.1")
    left = {"vm1", "vm2"} & set(lab.host.links())
    for name in left:  # devices vmqd made outlive a killed daemon; a restarted one says so
        lab.host.ip("link", "del", name)
    lab.daemon.start()
    lab.cli("uplink", "add", "eth1")
    vm = lab.veth_vm("vm3", 3)
    vm.ping("10.0.0.254")


def test_orderly_end_with_everything_attached(lab):
    """SIGTERM while frames flow: exit code 0, every device and program of vmqd gone."""
    nic = lab.nic()
    wire = lab.wire("eth1")
    lab.start(uplink="nic0")
    lab.cli("uplink", "add", "eth1")
    tap = lab.tap_vm("vm1", frames.vm_mac(1), "--uplink", "nic0")
    lab.veth_vm("vm2", 2, "--uplink", "eth1")
    lab.netdev_vm("vm3", 3, "--uplink", "eth1")
    lab.host_port("vhost0", 253, "--uplink", "eth1")
    wire.start("ping", "-f", "10.0.0.2")
    nic.send_flow(tap.mac, WIRE_MAC, 1, 500)
    lab.daemon.stop()


def features(lab, device):
    lines = lab.host.run("ethtool", "-k", device).stdout.splitlines()[1:]
    return {line.strip() for line in lines}


def test_settings_are_put_back(lab):
    """What vmqd switched off on other people's devices is on again when it lets go of them."""
    lab.wire("eth1")
    lab.host.plugged |= {"box", "box-p"}
    lab.host.ip("link", "add", "box", "type", "veth", "peer", "name", "box-p")
    lab.host.up("box", "box-p")
    before = {device: features(lab, device) for device in ("eth1", "box", "box-p")}
    mtu = lab.host.links()["box"]["mtu"]
    lab.start(uplink="eth1")
    lab.cli("port", "add", "box", "--netdev", "box", "--mac", frames.vm_mac(1))
    lab.cli("port", "del", "box")
    assert {device: features(lab, device) for device in ("box", "box-p")} == {
        device: before[device] for device in ("box", "box-p")}
    assert lab.host.links()["box"]["mtu"] == mtu
    lab.cli("uplink", "del", "eth1")
    assert features(lab, "eth1") == before["eth1"]
    assert "xdp" not in lab.host.links()["eth1"]


def test_uplink_comes_and_goes(lab):
    """Twenty times at once: nothing keeps the queues busy."""
    nic = lab.nic()
    lab.start()
    for turn in range(20):
        lab.cli("uplink", "add", "nic0")
        lab.cli("uplink", "del", "nic0")
    lab.cli("uplink", "add", "nic0")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    nic.send_flow(vm.mac, WIRE_MAC, 1, 20)
    assert vm.wait_flow(1, 20) == list(range(20))


def test_two_uplinks(lab):
    """Each has its own filters: the same MAC may live behind both, and a port is told which."""
    nic, other = lab.nic("nic0"), lab.nic("nic1", 2, "02:00:00:00:ff:09")
    lab.start(uplink="nic0")
    lab.cli("uplink", "add", "nic1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1), "--uplink", "nic0")
    twin = lab.tap_vm("vm2", frames.vm_mac(1), "--uplink", "nic1")
    nic.send_flow(vm.mac, WIRE_MAC, 1, 20)
    other.send_flow(twin.mac, WIRE_MAC, 2, 20)
    assert vm.wait_flow(1, 20) == list(range(20)) and twin.wait_flow(2, 20) == list(range(20))
    assert not vm.flow(2) and not twin.flow(1)


def test_says_ready_to_systemd(lab, tmp_path):
    """READY=1 once it answers, STOPPING=1 when it is told to end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(10)
        lab.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert "READY=1" in notify.recv(4096).decode()
        lab.daemon.stop()
        messages = []
        while not any("STOPPING=1" in message for message in messages):
            messages.append(notify.recv(4096).decode())


def test_socket_of_the_api(lab):
    """Mode 0660; gone after the end; a stale one of a killed daemon is no obstacle."""
    lab.start()
    assert lab.daemon.socket.stat().st_mode & 0o777 == 0o660
    lab.daemon.kill()
    lab.daemon.start()
    lab.daemon.stop()
    assert not lab.daemon.socket.exists()
    assert lab.call("switch", "show").returncode == UNREACHABLE


def test_second_daemon_on_the_same_socket(lab):
    """Refuses to start, and the first goes on answering."""
    lab.start()
    second = subprocess.run(lab.host.command(VMQD, "--address", lab.daemon.address), timeout=10,
                            text=True, capture_output=True, check=False)
    assert second.returncode != 0 and str(lab.daemon.socket) in second.stderr, second
    assert lab.call("switch", "show").returncode == OK


@pytest.mark.parametrize("arguments,value", [
    (("--processor-set", "0-"), "0-"), (("--processor-set", "4000"), "4000"),
    (("--no-such-flag",), "no-such-flag"), (("--address", "nonsense:/"), "nonsense")])
def test_bad_arguments_of_the_daemon(lab, tmp_path, arguments, value):
    address = () if "--address" in arguments else ("--address", f"unix:{tmp_path}/s")
    done = subprocess.run(lab.host.command(VMQD, *address, *arguments), timeout=10,
                          text=True, capture_output=True, check=False)
    assert done.returncode not in (0, -signal.SIGABRT, -signal.SIGSEGV), done
    assert value in done.stderr, done.stderr


def test_processor_set(lab):
    """Workers are pinned to the set, round-robin, and the API says where each is."""
    lab.nic()
    last = max(os.sched_getaffinity(0))
    lab.start("--processor-set", str(last), uplink="nic0")
    assert lab.cli("switch", "show")["processorSet"] == str(last)
    assert {queue.get("cpu", 0) for queue in lab.cli("queue", "list")["queues"]} == {last}
    assert lab.cli("switch", "show")["workerCount"] == 4


@pytest.mark.measures
def test_idle_daemon_uses_no_cpu(lab):
    """Four queues, six ports, nothing to do: under 0.5 % of a CPU."""
    lab.nic()
    lab.start(uplink="nic0")
    for index in range(6):
        lab.tap_vm(f"vm{index}", frames.vm_mac(index))
    time.sleep(1)

    def cpu_seconds():
        total = 0
        for task in os.listdir(f"/proc/{lab.daemon.pid}/task"):
            with open(f"/proc/{lab.daemon.pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])  # nanoseconds on a CPU
        return total / 1e9

    start, seconds = cpu_seconds(), 4
    time.sleep(seconds)
    assert (cpu_seconds() - start) / seconds < 0.005
