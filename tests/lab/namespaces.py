"""Network namespaces and veth pairs of the lab, and running things inside them.

Used by the thread of a test; every namespace is named vq-<pid>-<number>-<role>, so that parallel
runs never meet and leftovers can be told. What must stay true: whatever is made here is gone when
its context ends, whether the test passed or not.
"""

import contextlib
import ctypes
import itertools
import json
import os
import signal
import subprocess

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


class CommandFailed(AssertionError):
    """A command of the lab did not do what the test needs; says what it printed."""


def run(*command, check=True, timeout=60, **kwargs):
    """Runs a command; CompletedProcess with text output. Fails with everything it said."""
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True,
                          timeout=timeout, **kwargs)
    if check and done.returncode:
        raise CommandFailed(f"{' '.join(map(str, command))}: exit code {done.returncode}\n"
                            f"{done.stdout}{done.stderr}")
    return done


class Namespace:
    """One network namespace: the host, the wire, or a VM."""

    def __init__(self, role, ipv6=True):
        self.name = f"vq-{os.getpid()}-{next(_numbers)}-{role}"
        self.processes = []
        run("ip", "netns", "add", self.name)
        with self.entered():
            if not ipv6:
                for which in ("all", "default"):
                    self.sysctl(f"net/ipv6/conf/{which}/disable_ipv6", 1)
            else:  # addresses are usable at once: no test waits for duplicate detection
                self.sysctl("net/ipv6/conf/default/accept_dad", 0)
                self.sysctl("net/ipv6/conf/all/accept_dad", 0)
        self.ip("link", "set", "lo", "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        run("ip", "netns", "del", self.name, check=False)

    @contextlib.contextmanager
    def entered(self):
        """The calling thread works inside the namespace: sockets and taps it makes belong there."""
        with open("/proc/thread-self/ns/net") as old, open(f"/run/netns/{self.name}") as new:
            _setns(new)
            try:
                yield
            finally:
                _setns(old)

    def sysctl(self, path, value):
        with self.entered(), open(f"/proc/sys/{path}", "w") as file:
            file.write(str(value))

    def command(self, *words):
        """The words of a command line that runs inside, without another mount namespace."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *map(str, words)]

    def run(self, *words, **kwargs):
        return run(*self.command(*words), **kwargs)

    def start(self, *words, **kwargs):
        """A process that lives until the namespace is closed."""
        kwargs = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | kwargs
        self.processes.append(subprocess.Popen(self.command(*words), **kwargs))
        return self.processes[-1]

    def ip(self, *words, check=True):
        """`ip -n NAME words...`; parsed output where the words ask for JSON (-j first)."""
        done = run("ip", "-n", self.name, *words, check=check)
        return json.loads(done.stdout or "[]") if words[0] == "-j" else done

    def links(self):
        """Every device, by name, as `ip -d -j link` tells it."""
        return {link["ifname"]: link for link in self.ip("-j", "-d", "link") if link}

    def address(self, device, *addresses):
        for address in addresses:
            self.ip("addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))

    def up(self, *devices):
        for device in devices:
            self.ip("link", "set", device, "up")

    def ping(self, address, count=3, *options, check=True):
        """`count` pings; fails unless each was answered. One process each: of several, ping waits
        for the last ones no longer than two round trips once one was answered, whatever -W says,
        and takes a VM that is slow for a moment for one that lost a frame.
        """
        for _ in range(count):
            done = self.run("ping", "-n", "-c", 1, "-W", "10" if check else "2", *options, address,
                            check=False)
            if not check or done.returncode:
                break
        if check and done.returncode:
            raise CommandFailed(f"ping {address} from {self.name}:\n{done.stdout}{done.stderr}")
        return done.returncode == 0


def remove_stale():
    """What runs that were killed left behind: namespaces of processes that are gone."""
    for name in run("ip", "netns", "list").stdout.split():
        parts = name.split("-")
        if parts[0] != "vq" or len(parts) < 4 or os.path.exists(f"/proc/{parts[1]}"):
            continue
        for process in run("ip", "netns", "pids", name, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        run("ip", "netns", "del", name, check=False)


def _setns(file):
    if _libc.setns(file.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def make_veth(inside, name, peer, queues=1, peer_namespace=None):
    """A pair of ends with `queues` queue pairs each, both up; the peer may live elsewhere."""
    size = ("numtxqueues", queues, "numrxqueues", queues)
    inside.ip("link", "add", name, *size, "type", "veth", "peer", "name", peer, *size)
    if peer_namespace:
        inside.ip("link", "set", peer, "netns", peer_namespace.name)
    inside.up(name)
    (peer_namespace or inside).up(peer)
