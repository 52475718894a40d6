"""Clients that do not behave, while another one goes on working.

The abuser is another user on the monitor socket, or a client on TCP whose certificate is good. What
is promised: the control socket answers all the while, memory grows by less than BOUND and what was
opened is closed again. How fast the answers come is not looked at here.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.lab import abuser
from tests.lab.certificates import ROLES, make_all
from tests.lab.endpoints import wait_until
from tests.lab.vmqd import OK

BOUND = 96 << 10  # KiB over the memory before
NOBODY = 65534
ABUSER = pathlib.Path(abuser.__file__)


def memory(pid):
    """Resident, in KiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def settings(lab, *lines):
    pathlib.Path(lab.directory, "vmqd.yaml").write_text("\n".join(lines) + "\n")


def listen_for_all(lab):
    """The daemon with a monitor socket for everybody, and TCP."""
    os.chmod(lab.directory, 0o755)
    make_all(lab.directory)
    for name in ("viewer.pem", "viewer.key", "ca.pem"):
        os.chown(os.path.join(lab.directory, name), NOBODY, NOBODY)
    at = lab.directory
    settings(lab, f"monitor: {{path: {at}/monitor.sock, mode: '0666'}}", "tcp:",
             "  address: 127.0.0.1:9443", f"  certificate: {at}/server.pem", f"  key: {at}/server.key",
             f"  client_ca: {at}/ca.pem", "  roles:",
             *(f"  - {{name: '{name}', role: {role.lower()}}}" for name, role in ROLES))
    lab.start()


def start_abuser(lab, kind, *address):
    program = shutil.copy(ABUSER, lab.directory)  # the user may not look where the tests are
    process = subprocess.Popen(
        lab.host.command("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                         sys.executable, program, kind, *address),
        stdout=subprocess.PIPE, text=True)
    lab.stack.callback(process.wait)
    lab.stack.callback(process.kill)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("kind", abuser.KINDS)
@pytest.mark.parametrize("listener", ["monitor", "tcp"])
def test_others_are_answered(lab, listener, kind):
    listen_for_all(lab)
    assert lab.call("switch", "show").returncode == OK
    pid = lab.daemon.pid
    base, before, most = files(pid), memory(pid), 0
    where = ((f"unix:{lab.directory}/monitor.sock",) if listener == "monitor" else
             ("127.0.0.1:9443", lab.directory, "viewer"))
    process = start_abuser(lab, kind, *where)
    for number in range(60):
        shown = lab.call("switch", "show")
        assert shown.returncode == OK, f"call {number}: {shown.stderr}"
        most = max(most, memory(pid))
        assert process.poll() is None, "the abuser gave up"
    process.kill()
    process.wait()
    assert most - before < BOUND, f"grew by {most - before} KiB"
    wait_until(lambda: files(pid) <= base + 4, 60, what=f"descriptors back to {base}")
    assert lab.call("switch", "show").returncode == OK
