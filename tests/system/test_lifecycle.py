"""The daemon's life: start, orderly end, sudden death, and other people's programs and settings."""

import os
import signal
import socket
import subprocess
import time

import pytest

from tests.lab import frames
from tests.lab.lab import WIRE_MAC
from tests.lab.vmqd import OK, REFUSED, UNREACHABLE, VMQD

def load_by(lab, how, device, program):
    if how == "xdp-loader":  # by libxdp; of the bpf file system it wants, nobody else knows
        lab.host.run("sh", "-c", "mount -t bpf bpf /sys/fs/bpf && "
                     f"xdp-loader load --mode native {device} {program}")
    else:
        lab.host.ip("link", "set", device, how, "obj", program, "sec", "xdp")


@pytest.mark.parametrize("how", ["xdpdrv", "xdpgeneric", "xdp-loader"])
@pytest.mark.parametrize("asked", ["native", "generic", "auto"])
def test_foreign_program_is_refused_and_left(lab, foreign, how, asked):
    lab.wire("eth1")
    lab.host.foreign_xdp.add("eth1")
    load_by(lab, how, "eth1", foreign)
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
    """After kill -9 the host's traffic flows and no VM frame reaches the host; then all is back."""
    wire = lab.wire("eth1")
    lab.host.address("eth1", "10.1.0.1/24")
    wire.address("wire0", "10.1.0.2/24")
    lab.start(uplink="eth1")
    tap = lab.tap_vm("vm1", frames.vm_mac(1))
    vm = lab.veth_vm("vm2", 2)
    vm.ping("10.0.0.254")
    lab.daemon.kill()
    host, outside = lab.packet(lab.host, "eth1"), lab.packet(wire, "wire0")
    wire.ping("10.1.0.1")
    outside.send_flow(tap.mac, WIRE_MAC, 1, 50)
    outside.send_flow(lab.host.links()["eth1"]["address"], WIRE_MAC, 2, 50)
    assert host.wait_flow(2, 50) == list(range(50)) and not host.flow(1)
    lab.daemon.start()
    lab.wait_up("vm1")
    outside.send_flow(tap.mac, WIRE_MAC, 3, 50)
    assert tap.wait_flow(3, 50) == list(range(50))
    vm.ping("10.0.0.254")
    events = lab.daemon.cli("event", "list")["events"]
    away = [event for event in events if event["reason"] == "DROPPED_WHILE_AWAY"]
    assert away and "50 frames" in away[0]["message"], events


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
