"""vmqd-cli doctor on real devices: over the API, and without a daemon."""

import json
import os
import pathlib

import pytest

from tests.lab.namespaces import run
from tests.lab.vmqd import CLI, OK, REFUSED, UNREACHABLE, VMQD

MACHINE = ["kernel-version", "kernel-type-information", "bpf-jit", "xdp", "xdp-frags",
           "vmqd-programs", "bpf-link", "tc-ingress", "af-xdp", "af-xdp-transmit-budget",
           "af-xdp-multi-buffer", "capabilities", "memlock", "bpf-directory", "tap",
           "irq-affinity", "huge-pages", "processor-set", "isolated-cpus", "smt", "irqbalance",
           "other-vmqd"]
DEVICE = ["device", "link-state", "master", "queues", "numa", "napi", "xdp-mode", "zero-copy",
          "device-frags", "redirect-target", "mtu", "attached-program", "vlan-offload", "lro",
          "gro-hw", "ntuple", "rss"]
PASS = """#include <linux/bpf.h>
__attribute__((section("xdp"), used)) int foreign(struct xdp_md* ctx) { return 2; }
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


def doctor(lab, *words):
    """(exit code, {name: finding}) of vmqd-cli doctor, in the order given."""
    done = lab.call("doctor", *words)
    assert done.returncode in (OK, REFUSED) and done.stdout, done
    findings = json.loads(done.stdout)["findings"]
    problems = [finding for finding in findings if finding["level"] == "PROBLEM"]
    assert done.returncode == (REFUSED if problems else OK), done
    return done.returncode, {finding["name"]: finding for finding in findings}


@pytest.mark.core
def test_names_and_order(lab):
    """What programs rely on: every finding is there, once, always in this order."""
    lab.wire("eth1")
    lab.start()
    _, machine = doctor(lab)
    assert list(machine) == MACHINE
    assert {finding["subject"] for finding in machine.values()} == {"machine"}
    _, both = doctor(lab, "eth1")
    assert list(both) == MACHINE + DEVICE
    assert {both[name]["subject"] for name in DEVICE} == {"eth1"}
    for finding in both.values():
        assert finding["level"] in ("OK", "NOTE", "PROBLEM") and finding["seen"], finding
        assert finding["level"] != "PROBLEM" or finding["advice"], finding


def test_veth_with_four_queues(lab):
    lab.wire("eth1", queues=4)
    lab.start()
    code, findings = doctor(lab, "eth1")
    assert code == OK, findings
    assert findings["xdp-mode"]["level"] == "OK" and findings["zero-copy"]["level"] == "NOTE"
    assert "4 queues" in findings["queues"]["seen"]
    assert "rx-vlan-hw-parse" in findings["vlan-offload"]["seen"]


def test_foreign_program_then_our_own(lab, tmp_path):
    """Somebody else's program is a problem; the daemon's own, on its own uplink, is not."""
    source, program = tmp_path / "foreign.c", tmp_path / "foreign.o"
    source.write_text(PASS)
    arch = run("gcc", "-print-multiarch").stdout.strip()
    run("clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{arch}", "-c", source, "-o",
        program)
    lab.wire("eth1")
    lab.start()
    lab.host.ip("link", "set", "eth1", "xdpdrv", "obj", program, "sec", "xdp")
    number = lab.host.links()["eth1"]["xdp"]["prog"]["id"]
    code, findings = doctor(lab, "eth1")
    assert code == REFUSED and findings["attached-program"]["level"] == "PROBLEM"
    assert str(number) in findings["attached-program"]["seen"]
    lab.host.ip("link", "set", "eth1", "xdpdrv", "off")
    lab.cli("uplink", "add", "eth1")
    code, findings = doctor(lab, "eth1")
    assert code == OK and findings["attached-program"]["level"] == "OK", findings
    assert findings["vlan-offload"]["level"] == "OK"  # vmqd has turned it off


def test_says_before_what_the_switch_says_after(lab):
    """Findings against the uplink that is then attached."""
    lab.wire("eth1", queues=2)
    lab.start()
    _, findings = doctor(lab, "eth1")
    uplink = lab.cli("uplink", "add", "eth1")
    assert uplink["effectiveXdpMode"] == "NATIVE" and findings["xdp-mode"]["level"] == "OK"
    assert uplink["zeroCopy"] == (findings["zero-copy"]["level"] == "OK")
    assert uplink["effectiveQueues"] == 2 and "2 queues" in findings["queues"]["seen"]
    survives = findings["bpf-directory"]["level"] == "OK"
    assert uplink["survivesCrash"] == survives, (uplink, findings["bpf-directory"])
    cpus = findings["processor-set"]["seen"].split(": ")[-1] if "dealt" in findings[
        "processor-set"]["seen"] else None
    if cpus:
        of_workers = {str(queue["cpu"]) for queue in lab.cli("queue", "list")["queues"]}
        assert of_workers <= set(cpus.split(",")), (of_workers, cpus)


def test_changes_nothing(lab):
    lab.wire("eth1")
    lab.start()

    def look():
        seen = [lab.host.run("ip", "-d", "link").stdout, lab.host.run("ip", "-d", "addr").stdout]
        for device in ("eth1", "lo"):
            seen.append(lab.host.run("ethtool", "-k", device).stdout)
            seen.append(lab.host.run("tc", "filter", "show", "dev", device, "ingress").stdout)
        descriptors = [os.readlink(entry) for entry in
                       pathlib.Path(f"/proc/{lab.daemon.pid}/fd").iterdir()]
        seen.append(sorted(name for name in descriptors if "bpf" in name or "btf" in name))
        return seen

    before = look()
    for words in ((), ("eth1",), ("lo",)):
        doctor(lab, *words)
    assert look() == before


def test_table_and_yaml(lab):
    lab.wire("eth1")
    lab.start()
    table = lab.call("doctor", "eth1", output="table").stdout
    for name in MACHINE + DEVICE:
        assert f" {name} " in table, name
    assert "-> " in table  # advice
    assert "xdp-mode" in lab.call("doctor", "eth1", output="yaml").stdout


def test_no_such_device(lab):
    lab.start()
    done = lab.call("doctor", "nosuch")
    assert done.returncode == REFUSED and "nosuch" in done.stderr and not done.stdout, done
    done = lab.call("doctor", "a/b")
    assert done.returncode == REFUSED and "a/b" in done.stderr, done


def without_daemon(lab, tmp_path, *words, path=None):
    return lab.host.run("env", f"PATH={path or VMQD.parent}:/usr/bin:/bin", CLI, "--address",
                        f"unix:{tmp_path}/nobody.sock", *words, check=False)


def test_without_a_daemon(lab, tmp_path):
    """The program vmqd looks for itself; the answer has the same form."""
    lab.wire("eth1")
    done = without_daemon(lab, tmp_path, "-o", "json", "doctor", "eth1")
    assert "no vmqd answers" in done.stderr and "vmqd --doctor" in done.stderr, done
    assert done.returncode == OK, done
    assert [finding["name"] for finding in json.loads(done.stdout)["findings"]] == MACHINE + DEVICE
    table = without_daemon(lab, tmp_path, "doctor", "eth1").stdout
    assert " xdp-mode " in table
    done = without_daemon(lab, tmp_path, "doctor", "nosuch")
    assert done.returncode == REFUSED and "nosuch" in done.stderr, done
    done = without_daemon(lab, tmp_path, "doctor", path="/nowhere")
    if not pathlib.Path("/usr/bin/vmqd").exists() and not (CLI.parent / "vmqd").exists():
        assert done.returncode == UNREACHABLE and "cannot be started" in done.stderr, done


def test_the_program_alone(lab):
    """vmqd --doctor prints a plain table and starts nothing."""
    lab.wire("eth1")
    done = lab.host.run(VMQD, "--doctor", "eth1", check=False)
    assert done.returncode == OK, done
    for name in MACHINE + DEVICE:
        assert f" {name} " in done.stdout, name
    done = lab.host.run(VMQD, "--doctor", "lo", check=False)
    assert done.returncode == REFUSED and "PROBLEM" in done.stdout, done


def test_privileges_count(lab):
    """Without capabilities the program says so, by name."""
    done = lab.host.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", VMQD,
                        "--doctor", check=False)
    assert done.returncode == REFUSED, done
    (line,) = [line for line in done.stdout.splitlines() if " capabilities " in line]
    for capability in ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"):
        assert capability in line
