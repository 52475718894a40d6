"""Who may, on the daemon as it is installed: sockets by mode and group, roles, TLS.

Role by method is tests/rpc/access_test.cc; here are other users, other processes and what reload
does.
"""

import os
import pathlib
import signal
import ssl
import struct
import subprocess

import pytest

from tests.lab.abuser import HELLO, Abuser
from tests.lab.certificates import make_all
from tests.lab.endpoints import wait_until
from tests.lab.namespaces import run
from tests.lab.vmqd import CLI, OK, REFUSED, UNREACHABLE, VMQD
from tests.system.test_abuse import NOBODY, listen_for_all, settings

PORT = ("port", "add", "p", "--tap", "p", "--mac", "52:54:00:00:00:01")


def call_as(lab, user, group, path, *words):
    return run("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", CLI, "--address",
               f"unix:{path}", "--timeout", "10", *words, check=False)


def test_users_and_groups(lab):
    """The control socket is for its group; the monitor socket lets look and not touch."""
    os.chmod(lab.directory, 0o755)
    monitor = f"{lab.directory}/monitor.sock"
    settings(lab, "control: {group: daemon, mode: '0660'}",
             f"monitor: {{path: {monitor}, mode: '0666'}}")
    lab.start()
    control = lab.daemon.socket
    daemon_group = 1  # in Debian's base-passwd
    assert call_as(lab, NOBODY, NOBODY, control, "switch", "show").returncode == UNREACHABLE
    assert call_as(lab, NOBODY, daemon_group, control, "switch", "show").returncode == OK
    assert call_as(lab, NOBODY, NOBODY, monitor, "switch", "show").returncode == OK
    refused = call_as(lab, NOBODY, NOBODY, monitor, *PORT)
    assert refused.returncode == REFUSED, refused
    assert f"user {NOBODY}" in refused.stderr and "operator" in refused.stderr, refused.stderr
    lines = [line for line in lab.daemon.log().splitlines() if "audit:" in line]
    assert len(lines) == 1, lines
    assert f"uid={NOBODY}" in lines[0] and "PERMISSION_DENIED" in lines[0], lines


def test_reload_changes_the_mode(lab):
    os.chmod(lab.directory, 0o755)
    settings(lab, "control: {mode: '0600'}")
    lab.start()
    assert lab.daemon.socket.stat().st_mode & 0o777 == 0o600
    settings(lab, "control: {mode: '0666'}")
    lab.daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: lab.daemon.socket.stat().st_mode & 0o777 == 0o666, 60, what="the new mode")
    assert call_as(lab, NOBODY, NOBODY, lab.daemon.socket, "switch", "show").returncode == OK
    settings(lab, "control: {mode: '99'}")
    lab.daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded" in lab.daemon.log(), 60, what="the refusal in the log")
    assert lab.call("switch", "show").returncode == OK
    settings(lab)  # the end of the test reads it again


def let_in(lab, who, version=ssl.TLSVersion.TLSv1_3):
    """Whether the server answers HTTP/2 to this certificate and TLS version."""
    client = Abuser("127.0.0.1:9443", lab.directory, who or "viewer")
    if who is None:
        client.context = ssl.create_default_context(cafile=f"{lab.directory}/ca.pem")
    client.context.minimum_version = ssl.TLSVersion.TLSv1_2
    client.context.maximum_version = version
    try:
        with lab.host.entered(), client.dial() as connection:
            connection.settimeout(60)
            connection.sendall(HELLO)
            answer = connection.recv(9)
            return len(answer) == 9 and struct.unpack(">B", answer[3:4]) == (4,)
    except (ssl.SSLError, ConnectionError):
        return False


def test_certificates(lab):
    listen_for_all(lab)
    for who in ("admin", "operator", "viewer", "common"):
        assert let_in(lab, who), who
    for who in (None, "stranger", "expired", "early", "not_a_client"):
        assert not let_in(lab, who), who
    assert not let_in(lab, "admin", ssl.TLSVersion.TLSv1_2)
    assert lab.call("switch", "show").returncode == OK


@pytest.mark.parametrize("mode,lets", [(0o644, False), (0o640, True)])
def test_private_key_of_everybody(lab, mode, lets):
    make_all(lab.directory)
    os.chmod(f"{lab.directory}/server.key", mode)
    at = lab.directory
    file = pathlib.Path(at, "vmqd.yaml")
    file.write_text(f"tcp: {{address: '127.0.0.1:9443', certificate: {at}/server.pem, key: {at}/server.key,"
                    f" client_ca: {at}/ca.pem, roles: [{{name: a, role: viewer}}]}}\n")
    if lets:
        lab.start()
        return
    done = subprocess.run(lab.host.command(VMQD, "--config", file, "--address", f"unix:{at}/s",
                                           "--state-directory", f"{at}/state", "--bpf-directory",
                                           f"{at}/bpf/vmqd"),
                          timeout=60, text=True, capture_output=True, check=False)
    assert done.returncode == 1 and "server.key" in done.stderr and "chmod" in done.stderr, done
