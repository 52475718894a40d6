"""The Debian packages: built by CPack, installed, upgraded and purged on fresh Debian machines.

A machine has systemd as process 1 and is the test's own; see tests/lab/machine.py. What must stay
true: an installed switch runs without a further step, an upgrade keeps it, and after a purge nothing
tells that it was there but its user.
"""

import re
import shutil

import pytest

from tests.lab.endpoints import wait_until
from tests.lab.machine import Machine, packages
from tests.lab.namespaces import run

STATE = "/var/lib/vmqd"
PINS = "/sys/fs/bpf/vmqd"


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    """The same packages as a release that comes after them."""
    directory = tmp_path_factory.mktemp("newer")
    for package in packages():
        tree = directory / package.stem
        run("dpkg-deb", "--raw-extract", package, tree)
        control = tree / "DEBIAN" / "control"
        text = re.sub(r"^(Version: .*)$", r"\1.1", control.read_text(), flags=re.MULTILINE)
        control.write_text(re.sub(r"(vmqd-cli \(= [^)]*)\)", r"\1.1)", text))
        run("dpkg-deb", "--root-owner-group", "--build", tree, directory)
        shutil.rmtree(tree)
    return sorted(directory.glob("*.deb"))


@pytest.fixture
def machine():
    with Machine() as made:
        yield made


def state(machine):
    return machine.unit("vmqd", "ActiveState", "SubState", "MainPID", "UnitFileState")


def test_lintian():
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    done = run("lintian", "--allow-root", "--fail-on", "error,warning", *packages(), check=False,
               timeout=300)
    assert not done.returncode, done.stdout + done.stderr


def test_fields():
    for package in packages():
        fields = dict(re.findall(r"^([\w-]+): (.*)$", run("dpkg-deb", "--field", package).stdout,
                                 re.MULTILINE))
        assert fields["Architecture"] != "all"
        for library in ("libc6", "libgrpc++1.51", "libprotobuf32"):  # found by dpkg-shlibdeps
            assert re.search(rf"\b{re.escape(library)}\b", fields["Depends"]), fields["Depends"]
    assert "libbpf" not in run("dpkg-deb", "--field", packages()[0], "Depends").stdout


def test_installed_switch_runs(machine):
    machine.boot()
    machine.install()
    now = state(machine)
    assert (now["ActiveState"], now["SubState"], now["UnitFileState"]) == \
        ("active", "running", "enabled"), machine.journal()
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", machine.run("vmqd", "--version").stdout)
    assert "vmqd-cli port" in machine.run("vmqd-cli", "port", "--help").stdout
    modes = machine.run("stat", "--format", "%n %a %U %G", "/etc/vmqd", "/etc/vmqd/vmqd.yaml",
                        STATE, "/run/vmqd", "/run/vmqd/vmqd.sock", PINS, "/usr/bin/vmqd")
    assert modes.stdout.splitlines() == [
        "/etc/vmqd 755 root root", "/etc/vmqd/vmqd.yaml 644 root root", f"{STATE} 700 vmqd vmqd",
        "/run/vmqd 755 vmqd vmqd", "/run/vmqd/vmqd.sock 660 vmqd vmqd", f"{PINS} 700 vmqd vmqd",
        "/usr/bin/vmqd 755 root root"]
    for section, page in ((8, "vmqd"), (1, "vmqd-cli"), (5, "vmqd.yaml")):
        assert f"{page}({section})" in machine.run("man", str(section), page).stdout
    machine.populate()
    assert machine.ports() == ["host", "vm1"]


def test_installed_into_an_image_it_starts_with_the_machine(machine):
    """What image builders do: the packages are installed where no systemd runs."""
    machine.install()
    machine.boot()
    assert state(machine)["ActiveState"] == "active", machine.journal()
    assert not machine.run("systemctl", "--failed", "--quiet").stdout


def test_upgrade_keeps_the_switch(machine, newer):
    machine.boot()
    machine.install()
    machine.populate()
    machine.shell("echo 'log_level: debug' >>/etc/vmqd/vmqd.yaml")  # dpkg must not ask, nor lose it
    before = state(machine)
    machine.install(newer)
    after = state(machine)
    assert after["ActiveState"] == "active", machine.journal()
    assert after["MainPID"] != before["MainPID"]
    assert machine.ports() == ["host", "vm1"]
    machine.ping()
    assert "log_level: debug" in machine.run("cat", "/etc/vmqd/vmqd.yaml").stdout


def test_disabled_stays_disabled(machine, newer):
    machine.boot()
    machine.install()
    machine.run("systemctl", "disable", "--now", "vmqd")
    machine.install(newer)
    now = state(machine)
    assert (now["ActiveState"], now["UnitFileState"]) == ("inactive", "disabled")


def test_removed_and_purged_it_leaves_nothing(machine):
    machine.boot()
    before = machine.files()
    machine.install()
    machine.populate()
    machine.run("dpkg", "--remove", "vmqd", "vmqd-cli")
    assert not machine.shell(f"ls -A {PINS} /run/vmqd 2>/dev/null", check=False).stdout
    links = machine.run("ip", "-d", "link").stdout
    assert "xdp" not in links and "vm1" not in links
    assert machine.shell(f"ls -A {STATE}").stdout  # the desired state may be wanted again
    machine.run("dpkg", "--purge", "vmqd", "vmqd-cli")
    # passwd(5) and group(5) have their copies of before.
    left = {path for path in machine.files() - before if not re.fullmatch(r"etc/\w+-", path)}
    assert not left
    assert machine.run("id", "--user", "--name", "vmqd").stdout == "vmqd\n"
    assert "vmqd" not in machine.run("systemctl", "list-unit-files", "--no-pager").stdout


def test_removed_and_installed_again_it_has_its_ports(machine):
    """The desired state outlives a removal: what was on the switch is there again."""
    machine.boot()
    machine.install()
    machine.populate()
    machine.run("dpkg", "--remove", "vmqd")
    machine.install()
    wait_until(lambda: machine.ports() == ["host", "vm1"], 10, 0.2, what="the ports being back")
