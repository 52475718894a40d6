"""What `cmake --install` puts on a machine, and that the service can live with what its unit grants.

The installed tree is a staging directory; systemd-analyze judges the unit there, no systemd runs.
What must stay true: the unit names the installed program, contains nothing systemd does not know,
is not more exposed than was decided, and the daemon works as another user with its capabilities.
"""

import os
import re
import shutil

import pytest

from tests.lab.namespaces import run
from tests.lab.vmqd import BUILD

UNIT = "usr/lib/systemd/system/vmqd.service"
MOST_EXPOSED = 25  # tenths; systemd-analyze's own scale, lower is better


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
                "usr/share/doc/vmqd/README.md", "usr/share/doc/vmqd/LICENSE"}
    assert present == expected
    for program in ("vmqd", "vmqd-cli"):
        assert os.access(staged / "usr/bin" / program, os.X_OK)


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
    done = analyze("verify", f"--root={root}", "vmqd.service")
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
    os.chown(lab.directory, 65534, 65534)
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
