"""What makes a day at the console pleasant: man pages, tab completion, events, cleanup.

Pages and completion are held against what --help of the programs says, so that none of the three can
fall behind. Shells are real and on a terminal.
"""

import functools
import gzip
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from tests.lab.endpoints import wait_until
from tests.lab.namespaces import run
from tests.lab.shells import Shell
from tests.lab.vmqd import BUILD, CLI, OK, REFUSED, ROOT, UNREACHABLE, USAGE, VMQD

PAGES = BUILD / "deploy" / "man"
COMPLETION = BUILD / "deploy" / "completion"
FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


# --- what the programs say of themselves

@functools.cache
def help_of(*words):
    return run(words[0], *words[1:], "--help").stdout


def section(text, head):
    """The indented lines below `head:`."""
    found = re.search(rf"^{head}:\n((?:  .*\n|\n)*)", text, re.MULTILINE)
    return found[1] if found else ""


def flags_in(text):
    """Spellings at the beginning of the lines of --help: "  -o,--output TEXT"."""
    found = set()
    for line in text.splitlines():
        head = re.match(r"\s+((?:--?[a-z][a-z-]*(?:\{[^}]*\})?,? ?)+)", line)
        if head:
            found |= set(FLAG.findall(re.sub(r"\{[^}]*\}", "", head[1])))
    return found


@functools.cache
def verbs(*path):
    """Every complete command below `path`, as tuples of words."""
    names = re.findall(r"^  ([a-z-]+) ", section(help_of(CLI, *path), "Subcommands"), re.MULTILINE)
    below = [verb for name in names for verb in verbs(*path, name)]
    return below or [path]


def everything():
    """{command: its flags}; those of every command under ()."""
    shared = flags_in(help_of(CLI))
    return {(): shared} | {verb: flags_in(help_of(CLI, *verb)) - shared for verb in verbs()}


# --- man pages

def page(name):
    """The page as a reader sees it."""
    if not shutil.which("man"):
        pytest.skip("man is not installed (package man-db)")
    done = run("man", "--warnings", "--local-file", PAGES / f"{name}.gz",
               env=os.environ | {"MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""})
    assert not done.stderr
    return done.stdout


def described(text):
    """Flags that the page describes, as opposed to mentions: "       -o, --output table|json"."""
    return {flag for line in text.splitlines() if re.match(r" +-", line)
            for flag in FLAG.findall(re.match(r" +((?:--?[a-z-]+(?:, )?)+)", line)[1])}


def test_page_of_the_daemon_is_its_help():
    assert described(page("vmqd.8")) == flags_in(help_of(VMQD))


def test_page_of_the_client_is_its_help():
    shown = page("vmqd-cli.1")
    commands = re.split(r"^COMMANDS$", shown, flags=re.MULTILINE)[1]
    parts = re.split(rf"^ +({'|'.join(' '.join(verb) for verb in verbs())})(?= [A-Z\[]|\n)", commands,
                     flags=re.MULTILINE)
    found = {tuple(head.split()): described(body) for head, body in zip(parts[1::2], parts[2::2])}
    wanted = everything()
    assert described(shown.split("COMMANDS")[0]) == wanted.pop(())
    assert found == wanted


def test_page_of_the_settings_is_their_schema():
    proto = (ROOT / "proto/vmqd/v1/settings.proto").read_text()
    fields = set(re.findall(r"^  (?:repeated )?\w+ (\w+) = \d+;", proto, re.MULTILINE))
    assert set(re.findall(r"^ +([a-z_]+):", page("vmqd.yaml.5"), re.MULTILINE)) == fields


def test_pages_are_compressed_without_a_time():
    for path in PAGES.glob("*.gz"):
        assert path.read_bytes()[4:8] == bytes(4), path
        assert gzip.decompress(path.read_bytes())


# --- tab completion: what fits

def words(*line, environment=None):
    shown = run(CLI, "completion", "words", "--", *line,
                env=os.environ | {"VMQD_ADDRESS": "unix:/nonexistent"} | (environment or {})).stdout
    return [line.split("\t")[0] for line in shown.splitlines()]


def test_every_verb_and_flag_is_offered():
    for verb, flags in everything().items():
        for depth in range(len(verb)):
            assert verb[depth] in words(*verb[:depth], "")
        offered = set(words(*verb, "--"))
        assert {flag for flag in flags if flag.startswith("--")} <= offered


@pytest.mark.parametrize("line, offered", [
    (("po",), ["port"]),
    (("port", "s"), ["set", "show"]),
    (("-o", ""), ["table", "json", "yaml"]),
    (("--output=j",), ["json"]),
    (("port", "list", "-o", "y"), ["yaml"]),
    (("--timeout", "3", "queue", "l"), ["list"]),
    (("port", "add", "x", "--tr"), ["--trusted"]),
    (("port", "set", "x", "--no"), ["--no-trusted", "--no-coalescing"]),
    (("port", "add", "x", "--vhost-r"), ["--vhost-role"]),
    (("port", "add", "x", "--vhost-role", "v"), ["vmm-listens"]),
    (("port", "attach-help", "x", "--vmm", ""), ["qemu", "libvirt", "cloud-hypervisor"]),
    (("port", "add", ""), []),               # a new name is not to be guessed
    (("port", "show", "x", "y", ""), []),    # nothing more belongs there
    (("port", "frobnicate", ""), []),
    (("--", "port", "--"), []),
    (("completion",), []),                   # hidden
], ids=" ".join)
def test_words(line, offered):
    assert words(*line) == offered


def test_devices_are_the_machines():
    assert "lo" in words("uplink", "add", "")


def test_files_are_left_to_the_shell():
    assert words("apply", "-f", "") == [":files"]


def test_names_come_from_the_daemon(lab):
    lab.wire()
    lab.start(uplink="eth1")
    for name in ("vm1", "vm2", "web"):
        lab.cli("port", "add", name, "--veth", f"{name},{name}-p")
    inside = {"VMQD_ADDRESS": lab.daemon.address}
    assert words("port", "show", "", environment=inside) == ["vm1", "vm2", "web"]
    assert words("port", "del", "vm", environment=inside) == ["vm1", "vm2"]
    assert words("queue", "list", "--uplink", "", environment=inside) == ["eth1"]
    assert words("queue", "show", "eth1", "", environment=inside) == ["0", "1", "2", "3"]
    assert words("stats", "show", "", environment=inside) == ["eth1", "vm1", "vm2", "web"]
    # The daemon that the line is about, not another.
    assert words("--address", lab.daemon.address, "uplink", "show", "") == ["eth1"]
    assert words("-a", "unix:/nonexistent", "port", "show", "", environment=inside) == []


def test_a_daemon_that_does_not_answer_costs_half_a_second(lab):
    lab.start()
    lab.conserves = False
    os.kill(lab.daemon.pid, signal.SIGSTOP)
    try:
        # More than enough for a busy machine, far less than the ten seconds of other commands.
        assert words("port", "show", "", environment={"VMQD_ADDRESS": lab.daemon.address}) == []
        run("timeout", "5", CLI, "-a", lab.daemon.address, "completion", "words", "--", "port",
            "show", "")
    finally:
        os.kill(lab.daemon.pid, signal.SIGCONT)


# --- tab completion: in the shells

@pytest.fixture(params=["bash", "zsh"])
def shell(request, lab):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    lab.wire()
    lab.start(uplink="eth1")
    for name in ("vm1", "vm2", "web"):
        lab.cli("port", "add", name, "--veth", f"{name},{name}-p")
    made = Shell(request.param, f"source {COMPLETION}/vmqd-cli.{request.param}",
                 PATH=f"{CLI.parent}:{os.environ['PATH']}", VMQD_ADDRESS=lab.daemon.address)
    yield made
    made.close()


TYPED = {  # and what it is after Tab
    "vmqd-cli po": "vmqd-cli port ",
    "vmqd-cli port sh": "vmqd-cli port show ",
    "vmqd-cli port show w": "vmqd-cli port show web ",
    "vmqd-cli port show v": "vmqd-cli port show vm",
    "vmqd-cli --output j": "vmqd-cli --output json ",
    "vmqd-cli --output=j": "vmqd-cli --output=json ",
    "vmqd-cli port add x --tru": "vmqd-cli port add x --trusted ",
    "vmqd-cli queue show ": "vmqd-cli queue show eth1 ",
    "vmqd-cli apply -f /etc/hostn": "vmqd-cli apply -f /etc/hostname ",
    "vmqd-cli port show nob": "vmqd-cli port show nob",
}


def test_tab(shell):
    assert {typed: shell.completed(typed) for typed in TYPED} == TYPED


def test_all_that_fits(shell):
    assert sorted(shell.all("vmqd-cli port ")) == ["add", "attach-help", "del", "history",
                                                     "list", "set", "show"]
    assert shell.all("vmqd-cli port show ") == ["vm1", "vm2", "web"]


# --- what attaches a VM

def test_attach_help_of_a_tap(lab):
    lab.wire()
    lab.start(uplink="eth1")
    lab.cli("port", "add", "vm1", "--tap", "vm1", "--mac", "02:00:00:00:00:01")
    help = lab.cli("port", "attach-help", "vm1")
    assert help["vmm"] == "qemu"
    assert help["arguments"][:2] == ["-netdev", "tap,id=net-vm1,ifname=vm1,script=no,downscript=no"]
    shown = lab.call("port", "attach-help", "vm1", "--vmm", "libvirt", output="table").stdout
    assert "<target dev='vm1' managed='no'/>" in shown


@pytest.mark.parametrize("role, chardev, mode", [
    ("switch-listens", "reconnect=1", "client"), ("vmm-listens", "server=on,wait=off", "server")])
def test_attach_help_of_a_vhost_user_port(lab, role, chardev, mode):
    lab.wire()
    lab.start(uplink="eth1")
    lab.cli("port", "add", "vm1", "--vhost-user", "vm1.sock", "--mac", "02:00:00:00:00:01",
            "--vhost-role", role, "--queue-pairs", "2")
    path = lab.cli("port", "show", "vm1")["vhost"]["socketPath"]
    assert path.endswith("/vm1.sock")
    qemu = lab.cli("port", "attach-help", "vm1", "--vmm", "qemu")["arguments"]
    assert f"socket,id=char-vm1,path={path},{chardev}" in qemu
    assert "vhost-user,id=net-vm1,chardev=char-vm1,queues=2" in qemu
    assert any("mq=on,vectors=6" in argument for argument in qemu)
    cloud = lab.cli("port", "attach-help", "vm1", "--vmm", "cloud-hypervisor")["arguments"]
    assert f"socket={path},vhost_mode={mode},num_queues=4," in cloud[-1]
    xml = lab.cli("port", "attach-help", "vm1", "--vmm", "libvirt")["text"]
    assert f"path='{path}' mode='{mode}'" in xml and "<driver queues='2'/>" in xml


def test_attach_help_where_no_vmm_attaches(lab):
    lab.wire()
    lab.start(uplink="eth1")
    lab.cli("port", "add", "web", "--veth", "web,web-p")
    done = lab.call("port", "attach-help", "web")
    assert done.returncode == REFUSED and "ip link set web-p netns" in done.stderr


# --- events

def events(lab, *arguments):
    return lab.cli("event", "list", *arguments).get("events", [])


def told(events):
    return [(event.get("resource", ""), event["reason"]) for event in events]


def test_event_list(lab):
    lab.wire()
    lab.start(uplink="eth1")
    lab.cli("port", "add", "vm1", "--veth", "vm1,vm1-p")
    everything_so_far = events(lab)
    assert ("uplinks/eth1", "ADDED") in told(everything_so_far)
    assert ("ports/vm1", "ADDED") in told(everything_so_far)
    revisions = [int(event["revision"]) for event in everything_so_far]
    assert revisions == sorted(revisions)
    lab.cli("port", "del", "vm1")
    later = events(lab, "--since", revisions[-1])
    assert ("ports/vm1", "DELETED") in told(later)
    assert ("ports/vm1", "ADDED") not in told(later)
    table = lab.call("event", "list", output="table").stdout.splitlines()
    assert table[0].split() == ["REVISION", "TIME", "SEVERITY", "RESOURCE", "REASON", "MESSAGE"]
    assert re.match(r" *\d+  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  info ", table[1])


class Watch:
    """vmqd-cli event watch, with what it has said so far."""

    def __init__(self, lab, *words, output="json"):
        self.paths = [os.path.join(lab.directory, name) for name in ("watch.out", "watch.err")]
        with open(self.paths[0], "w") as out, open(self.paths[1], "w") as err:
            self.process = subprocess.Popen(
                [CLI, "--address", lab.daemon.address, "-o", output, "event", "watch",
                 *map(str, words)], stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        lab.stack.callback(self.process.wait)
        lab.stack.callback(self.process.kill)

    def out(self):
        with open(self.paths[0]) as file:
            return file.read()

    def errors(self):
        with open(self.paths[1]) as file:
            return file.read()

    def events(self):
        """A JSON document a line; the line being written is left out."""
        return [json.loads(line) for line in self.out().split("\n")[:-1]]

    def sees(self, resource, reason):
        wait_until(lambda: (resource, reason) in told(self.events()), 20, 0.05,
                   what=f"{reason} of {resource} being told")

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


def test_event_watch(lab):
    lab.wire()
    lab.start(uplink="eth1")
    last = int(events(lab)[-1]["revision"])
    watch = Watch(lab, "--since", last)
    lab.cli("port", "add", "vm1", "--veth", "vm1,vm1-p")
    watch.sees("ports/vm1", "ADDED")
    lab.cli("port", "del", "vm1")
    watch.sees("ports/vm1", "DELETED")
    revisions = [int(event["revision"]) for event in watch.events()]
    assert revisions == sorted(set(revisions)) and revisions[0] > last
    assert watch.interrupt() == OK
    assert not watch.errors()


def test_event_watch_of_everything(lab):
    lab.wire()
    lab.start(uplink="eth1")
    watch = Watch(lab, "--all", output="table")
    wait_until(lambda: "synced" in watch.out(), 20, what="all that is there being told")
    assert "uplinks/eth1  up" in watch.out().split("synced")[0]
    lab.cli("port", "add", "vm1", "--veth", "vm1,vm1-p")
    wait_until(lambda: "\nports/vm1  " in watch.out().split("synced")[1], 20,
               what="the new port being told")
    lab.cli("port", "del", "vm1")
    wait_until(lambda: "\nports/vm1  deleted" in watch.out(), 20, what="its end being told")
    assert watch.interrupt() == OK


def test_event_watch_survives_the_daemon(lab):
    lab.wire()
    lab.start(uplink="eth1")
    last = int(events(lab)[-1]["revision"])
    watch = Watch(lab, "--since", last)
    lab.cli("port", "add", "vm1", "--veth", "vm1,vm1-p")
    watch.sees("ports/vm1", "ADDED")
    lab.daemon.kill()
    wait_until(lambda: "lost the connection" in watch.errors(), 20, what="the loss being told")
    lab.daemon.start()
    lab.cli("port", "add", "vm2", "--veth", "vm2,vm2-p")
    watch.sees("ports/vm2", "ADDED")
    assert "connected again" in watch.errors()
    assert told(watch.events()).count(("ports/vm1", "ADDED")) == 1
    watch.sees("", "RESTORED")  # of the daemon before anybody was connected to it
    assert watch.interrupt() == OK


def test_event_watch_without_a_daemon_ends():
    done = run(CLI, "-a", "unix:/nonexistent", "event", "watch", check=False)
    assert (done.returncode, done.stdout) == (UNREACHABLE, "")


def test_event_watch_into_a_pipe_that_closes(lab):
    lab.wire()
    lab.start(uplink="eth1")
    done = run("sh", "-c", f"{CLI} -a {lab.daemon.address} event watch --all | head -n 1")
    assert done.stdout.startswith("reset")


# --- cleanup

def test_cleanup(lab):
    lab.wire()
    lab.start(uplink="eth1")
    lab.cli("port", "add", "vm1", "--tap", "vm1", "--mac", "02:00:00:00:00:01")
    directories = ("--config", lab.daemon.settings, "--state-directory", lab.daemon.state,
                   "--bpf-directory", lab.daemon.pins)
    # A copy of the client beside the daemon, as they are installed.
    programs = os.path.join(lab.directory, "bin")
    os.mkdir(programs)
    for program in (CLI, VMQD):
        shutil.copy(program, programs)

    def cleanup():
        return lab.host.run(os.path.join(programs, "vmqd-cli"), "--address", lab.daemon.address,
                            "cleanup", *directories, check=False)

    refused = cleanup()
    assert refused.returncode == REFUSED and "systemctl stop vmqd" in refused.stderr
    assert "vm1" in lab.host.links()
    lab.conserves = False
    lab.daemon.kill()
    assert "xdp" in lab.host.links()["eth1"]
    done = cleanup()
    assert done.returncode == OK, done.stderr
    assert done.stdout.index("takes out of the kernel") < done.stdout.index("--cleanup")
    lab.daemon.check_programs()
    lab.daemon.check_devices()


def test_cleanup_needs_root():
    done = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", CLI, "cleanup",
               check=False)
    assert done.returncode == USAGE and "sudo" in done.stderr
