"""What `cmake --install` puts on a machine, and how the service lives there.

The installed tree is a staging directory; systemd-analyze judges the unit there. How the service
starts, is watched, reloads and comes back is seen on a machine of its own, with systemd as process 1
(tests/lab/machine.py). What must stay true: the unit names the installed program, contains nothing
systemd does not know, is not more exposed than was decided, and the daemon works with what it grants.
"""

import os
import re
import shutil
import signal

import pytest

from tests.lab.endpoints import wait_until
from tests.lab.machine import Machine, may_raise_limits
from tests.lab.namespaces import run
from tests.lab.stopped_thread import StoppedThread
from tests.lab.vmqd import BUILD, ROOT

UNIT = "usr/lib/systemd/system/vmqd.service"
MOST_EXPOSED = 23  # tenths; systemd-analyze's own scale, lower is better


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The root of a machine on which vmqd is installed below /usr."""
    root = tmp_path_factory.mktemp("staged")
    run("cmake", "--install", BUILD, "--prefix", "/usr", env=os.environ | {"DESTDIR": str(root)})
    return root


def analyze(*words):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed (package systemd)")
    return run("systemd-analyze", *words, check=False)


def test_installed_files(staged):
    present = {str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()}
    expected = {"usr/bin/vmqd", "usr/bin/vmqd-cli", UNIT, "usr/lib/sysusers.d/vmqd.conf",
                "usr/lib/tmpfiles.d/vmqd.conf", "etc/vmqd/vmqd.yaml",
                "usr/share/doc/vmqd/README.md", "usr/share/doc/vmqd/copyright",
                "usr/share/doc/vmqd/changelog.Debian.gz", "usr/share/doc/vmqd-cli/copyright",
                "usr/share/doc/vmqd-cli/changelog.Debian.gz",
                "usr/share/lintian/overrides/vmqd", "usr/share/lintian/overrides/vmqd-cli",
                "usr/share/vmqd/vmqd-dashboard.json",
                "usr/share/man/man8/vmqd.8.gz", "usr/share/man/man1/vmqd-cli.1.gz",
                "usr/share/man/man5/vmqd.yaml.5.gz",
                "usr/share/bash-completion/completions/vmqd-cli",
                "usr/share/zsh/vendor-completions/_vmqd-cli"}
    expected |= {f"usr/share/vmqd/proto/{path.relative_to(ROOT / 'proto')}"
                 for path in (ROOT / "proto").rglob("*.proto") if path.name != "state.proto"}
    expected.add("usr/share/vmqd/proto/README.md")
    assert present == expected
    for program in ("vmqd", "vmqd-cli"):
        assert os.access(staged / "usr/bin" / program, os.X_OK)


def test_edited_settings_are_left_alone(staged, tmp_path):
    root = tmp_path / "machine"
    (root / "etc/vmqd").mkdir(parents=True)
    (root / "etc/vmqd/vmqd.yaml").write_text("log_level: debug\n")
    run("cmake", "--install", BUILD, "--prefix", "/usr", env=os.environ | {"DESTDIR": str(root)})
    assert (root / "etc/vmqd/vmqd.yaml").read_text() == "log_level: debug\n"


def test_shipped_interface_compiles(staged, tmp_path):
    """What a caller in another language does with it."""
    protos = staged / "usr/share/vmqd/proto"
    run("protoc", "-I", protos, f"--python_out={tmp_path}", *protos.rglob("*.proto"))


def test_every_line_of_the_unit_is_explained(staged):
    """A comment stands above each paragraph of settings."""
    explained = False
    for line in (staged / UNIT).read_text().splitlines():
        if line.startswith("["):
            explained = line in ("[Unit]", "[Install]")  # whose settings say what they are
        elif line.startswith("#"):
            explained = True
        elif line:
            assert explained, line
        elif not line:
            explained = False


def test_unit_follows_the_prefix(staged, tmp_path):
    assert "\nExecStart=/usr/bin/vmqd " in (staged / UNIT).read_text()
    run("cmake", "--install", BUILD, "--prefix", "/opt/vmqd",
        env=os.environ | {"DESTDIR": str(tmp_path)})
    unit = (tmp_path / "opt/vmqd/lib/systemd/system/vmqd.service").read_text()
    assert "\nExecStart=/opt/vmqd/bin/vmqd " in unit


def test_unit_verifies(staged, tmp_path):
    root = tmp_path / "machine"
    shutil.copytree(staged, root)
    for target in ("basic", "shutdown", "sysinit"):  # what every service depends on
        (root / UNIT).with_name(f"{target}.target").write_text("[Unit]\nDescription=stub\n")
    (root / "bin").mkdir()
    for program in ("systemd-tmpfiles", "kill"):  # the machine's own
        (root / "bin" / program).touch(mode=0o755)
    done = analyze("verify", "--man=no", f"--root={root}", "vmqd.service")
    # An unknown setting is a warning, and a warning is not in the exit code.
    assert (done.returncode, done.stderr) == (0, "")


def test_unit_exposure(staged):
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", staged / UNIT)
    assert done.returncode == 0, done.stdout[-200:]


def test_sysusers_file(staged, tmp_path):
    if not shutil.which("systemd-sysusers"):
        pytest.skip("systemd-sysusers is not installed (package systemd)")
    (tmp_path / "etc").mkdir()
    run("systemd-sysusers", f"--root={tmp_path}", staged / "usr/lib/sysusers.d/vmqd.conf")
    for file in ("passwd", "group"):
        assert re.search("^vmqd:", (tmp_path / "etc" / file).read_text(), re.MULTILINE)


def capabilities(unit):
    """What the unit grants, as setpriv(1) spells it."""
    granted = re.search("^AmbientCapabilities=(.*)$", unit, re.MULTILINE)[1].split()
    bounded = re.search("^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)[1].split()
    assert granted == bounded
    return [f"+{name.removeprefix('CAP_').lower()}" for name in granted]


def test_daemon_runs_as_the_unit_says(lab, staged, monkeypatch):
    """Another user, no capability but the unit's: tap, veth and host ports come up and carry traffic."""
    granted = capabilities((staged / UNIT).read_text())
    granted.append("+ipc_lock")  # in place of LimitMEMLOCK=infinity, which a container may not set
    privileges = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
                  f"--bounding-set=-all,{','.join(granted)}", f"--inh-caps=-all,{','.join(granted)}",
                  f"--ambient-caps=-all,{','.join(granted)}"]
    # Debian's udev rules make the tun device accessible to everyone; a container's may not be.
    tun = ("mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$@\"")
    lab.wire()
    for path in (lab.directory, os.path.join(lab.directory, "bpf")):
        os.chown(path, 65534, 65534)
    inside = lab.host.command
    with monkeypatch.context() as patch:
        patch.setattr(lab.host, "command", lambda *words: inside(
            "unshare", "--mount", "sh", "-c", tun, "sh", *privileges, *words))
        lab.start(uplink="eth1")
    with open(f"/proc/{lab.daemon.pid}/status") as status:
        assert "Uid:\t65534\t65534" in status.read()
    vm = lab.veth_vm("vm1", 1)
    lab.host_port()
    lab.cli("port", "add", "vm2", "--tap", "vm2", "--mac", "02:00:00:00:00:02")
    vm.ping("10.0.0.254")
    vm.ping("10.0.0.253")


# --- the service on a machine

@pytest.fixture
def service():
    """The machine on which it runs, with an uplink and ports."""
    with Machine() as machine:
        machine.boot()
        machine.install()
        machine.populate()
        yield machine


def main_pid(machine):
    return int(machine.unit("vmqd", "MainPID")["MainPID"])


def restarted(machine, before, timeout=30):
    """Waits for another daemon than `before`, serving."""
    def another():
        now = machine.unit("vmqd", "MainPID", "ActiveState")
        return now["ActiveState"] == "active" and int(now["MainPID"]) not in (0, before)
    wait_until(another, timeout, 0.1, what="another daemon")
    wait_until(machine.ports, 10, 0.1, what="it answering")


def kill(machine, pid, which):
    machine.run("kill", f"-{which.name.removeprefix('SIG')}", str(pid))


def test_service_has_no_more_than_the_unit_says(service):
    """What the kernel holds of the running daemon, whatever systemd was told."""
    status = dict(line.split(":\t", 1) for line in
                  service.run("cat", f"/proc/{main_pid(service)}/status").stdout.splitlines())
    user = service.run("id", "--user", "vmqd").stdout.strip()
    assert status["Uid"].split() == [user] * 4
    wanted = sum(1 << number for number in (12, 13, 39))  # NET_ADMIN, NET_RAW, BPF
    if not may_raise_limits():
        wanted |= 1 << 14  # IPC_LOCK, in place of LimitMEMLOCK
    for which in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(status[which], 16) == wanted, which
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    limits = service.run("cat", f"/proc/{main_pid(service)}/limits").stdout
    assert re.search(r"Max locked memory +unlimited", limits) or not may_raise_limits()


def test_service_pins_its_programs(service):
    pins = service.run("ls", "/sys/fs/bpf/vmqd").stdout.split()
    assert pins, service.journal()
    assert "frames of VMs reach the host stack" not in service.journal()
    service.run("systemctl", "stop", "vmqd")  # gives the devices back
    assert "xdp" not in service.run("ip", "link", "show", "eth1").stdout


def test_service_comes_back_after_a_crash(service):
    before = main_pid(service)
    kill(service, before, signal.SIGKILL)
    restarted(service, before)
    assert service.ports() == ["host", "vm1"]
    service.ping()


def test_service_reloads(service):
    before = main_pid(service)
    service.shell("echo 'log_level: debug' >>/etc/vmqd/vmqd.yaml && systemctl reload vmqd")
    wait_until(lambda: "settings reloaded" in service.journal(), 10, 0.1, what="the reload")
    assert main_pid(service) == before
    service.shell("echo 'no_such_key: 1' >>/etc/vmqd/vmqd.yaml && systemctl reload vmqd")
    wait_until(lambda: "settings not reloaded" in service.journal(), 10, 0.1, what="the refusal")
    assert main_pid(service) == before
    service.ping()


def test_watchdog_ends_a_daemon_whose_worker_hangs(service):
    """The worker alone is stopped: the daemon answers, but may not claim to be well."""
    before = main_pid(service)
    worker = StoppedThread(service.host_pid("vmqd"), "vmq-eth1-0")
    worker.__enter__()  # not left orderly: the watchdog ends it as it stands

    def ended():
        task, how = os.waitpid(worker.task, StoppedThread.WALL | os.WNOHANG)
        return task and (os.WIFSIGNALED(how) or os.WIFEXITED(how))

    wait_until(ended, 60, 0.1, what="the watchdog ending the daemon")
    restarted(service, before)
    assert service.unit("vmqd", "NRestarts")["NRestarts"] == "1"
    assert "Watchdog timeout" in service.journal()
    assert service.ports() == ["host", "vm1"]


def test_service_waits_for_nothing_when_a_device_is_gone(service):
    """Ready means that all that can forward does; a port without its NIC waits, not the machine."""
    service.run("systemctl", "stop", "vmqd")
    service.run("ip", "link", "del", "eth1")
    service.run("systemctl", "start", "vmqd")
    assert service.unit("vmqd", "ActiveState")["ActiveState"] == "active"
    assert "WAITING" in service.run("vmqd-cli", "-o", "json", "uplink", "list").stdout
