"""DPDK's testpmd as the far end of vhost-user ports: a front end, net_virtio_user, not by us.

Used by the thread of a test. One process may hold several front ends, and packet sockets on network
devices (net_af_packet); in mode io it passes frames between its ports 0 and 1, 2 and 3, and so on,
in both directions and byte by byte, which is how namespaces become VMs (namespace_vm.py). Commands
go in through a pipe, statistics come out through another. What must stay true: the process is gone
when the Testpmd is closed, and asks for no huge pages.

CPUs: testpmd has one thread that obeys commands and sleeps, and one that polls every port of the
process and never sleeps. The polling thread may run on any CPU, at a lower priority (nice 5): a
worker of the switch that is woken on its CPU takes that CPU at once, and the polling thread moves
to the other; but where everything is busy it still gets its turn, which nice 19 did not when
compilers ran beside the tests. Three such processes work on two CPUs.
"""

import collections
import itertools
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import time

from tests.lab.namespaces import CommandFailed

START_SECONDS = 60
POLLING_NICENESS = 5
RING_SIZES = (64, 4096)  # what net_virtio_user takes for queue_size, powers of two in between too
_numbers = itertools.count()

Statistics = collections.namedtuple("Statistics", "rx_packets rx_bytes rx_missed rx_errors "
                                    "rx_nombuf tx_packets tx_bytes tx_errors")


class Unavailable(Exception):
    """Why this machine cannot run testpmd; a test skips with it."""


def program():
    path = shutil.which("dpdk-testpmd")
    if not path:
        raise Unavailable("dpdk-testpmd is not installed (package dpdk-dev)")
    return path


def front_end(socket, mac, *, queues=1, queue_size=256, packed=False, mergeable=True,
              in_order=True, listens=False):
    """A virtio device whose back end is at `socket`. `listens`: the switch connects to it."""
    assert RING_SIZES[0] <= queue_size <= RING_SIZES[1], queue_size
    settings = {"path": socket, "mac": mac, "queues": queues, "queue_size": queue_size,
                "packed_vq": int(packed), "mrg_rxbuf": int(mergeable), "in_order": int(in_order)}
    if listens:
        settings["server"] = 1
    return "net_virtio_user", settings


def packet_device(device, *, queues=1, mtu=1500):
    """Packet sockets on a network device of the process's namespace. A tag gets lost in them."""
    size = 2048 if mtu <= 1500 else 16384  # of a slot of their rings
    return "net_af_packet", {"iface": device, "qpairs": queues, "framesz": size,
                             "framecnt": (2 << 20) // size, "blocksz": max(size, 8192)}


def back_end(socket, *, queues=1, connects=False):
    """DPDK's own switch side of a vhost-user port, to try a front end on without vmqd."""
    settings = {"iface": socket, "queues": queues}
    if connects:
        settings["client"] = 1
    return "net_vhost", settings


class Testpmd:
    """One running process. Its port numbers are places in `devices`, from 0.

    `waiting` is for a front end that listens: testpmd serves no command until its back end came.
    """

    __test__ = False  # its name looks like a test's to pytest

    def __init__(self, namespace, directory, devices, *, mode="io", queues=1, descriptors=256,
                 start=True, waiting=False, frame_room=2048, options=()):
        self._name = f"vq{os.getpid()}n{next(_numbers)}"
        self._log = pathlib.Path(directory) / f"{self._name}.testpmd.log"
        self._output = ""   # not yet taken by command()
        self._marks = itertools.count(1)
        self._runtime = pathlib.Path(directory) / f"{self._name}.run"
        self._runtime.mkdir()
        buffers = 8192 + descriptors * queues * len(devices)  # rings may fill, and some travel
        pages = -(-(frame_room + 512) // 4096)  # of a buffer; without huge pages, it shares none
        memory_mib = 96 + buffers * pages // 256
        words = ["nice", "-n", POLLING_NICENESS, "stdbuf", "-oL", program(), "--no-huge", "-m",
                 memory_mib, "--no-pci", "--no-telemetry", "--iova-mode=va", "--file-prefix",
                 self._name, "--lcores", f"0@({_cpus()}),1@({_cpus()})", "--main-lcore", 0]
        for index, (kind, settings) in enumerate(devices):
            text = ",".join(f"{key}={value}" for key, value in settings.items())
            words += ["--vdev", f"{kind}{index},{text}"]
        words += ["--", "-i", "--nb-cores=1", f"--forward-mode={mode}", f"--rxq={queues}",
                  f"--txq={queues}", f"--rxd={descriptors}", f"--txd={descriptors}",
                  f"--total-num-mbufs={buffers}", f"--mbuf-size={frame_room + 128}",
                  "--no-mlockall", *options]
        environment = os.environ | {"RUNTIME_DIRECTORY": str(self._runtime)}
        self._process = subprocess.Popen(namespace.command(*words), stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                         env=environment)
        os.set_blocking(self._process.stdout.fileno(), False)
        self._started = False
        self._autostart = start
        if not waiting:
            self.wait_for_start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def wait_for_start(self, timeout=START_SECONDS):
        """Until it obeys commands; then forwards, unless told not to."""
        if self._started:
            return self
        self._until("testpmd> ", timeout)
        self._started = True
        if self._autostart:
            self.command("start")
        return self

    # --- commands

    def _until(self, mark, timeout):
        """What it said up to `mark`, which is taken away as well."""
        end = time.monotonic() + timeout
        while mark not in self._output:
            left = end - time.monotonic()
            if left < 0:
                raise CommandFailed(f"testpmd did not say {mark!r} within {timeout} s; it said:\n"
                                    + self.log())
            if not select.select([self._process.stdout], [], [], min(left, 1))[0]:
                continue
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise CommandFailed(f"testpmd ended with {self._process.wait()}; it said:\n"
                                    + self.log())
            with open(self._log, "ab") as log:
                log.write(data)
            self._output += data.decode(errors="replace").replace("\r", "")
        before, _, self._output = self._output.partition(mark)
        return before

    def command(self, text, timeout=30):
        """Gives a command; what it printed. It is done when the next word, a mark, is echoed."""
        mark = f"@@{next(self._marks)}@"
        self._process.stdin.write(f"{text}\n{mark}\n".encode())
        self._process.stdin.flush()
        output = self._until(mark, timeout)
        for complaint in ("Bad arguments", "Ambiguous command"):
            if complaint in output:
                raise CommandFailed(f"testpmd: {text}: {output.strip()}")
        return output.partition(text)[2]

    def start(self):
        self.command("start")

    def stop(self):
        """No frame is taken or sent any more; what it held is sent first."""
        self.command("stop")

    def mode(self, name):
        """Stopped, told to io, mac, macswap, flowgen, rxonly or txonly, started again."""
        self.stop()
        self.command(f"set fwd {name}")
        self.start()

    def statistics(self, port=0):
        output = self.command(f"show port stats {port}")
        fields = dict(re.findall(r"(\w\w-\w+): *(\d+)", output))
        names = [name.replace("_", "-").replace("rx", "RX").replace("tx", "TX")
                 for name in Statistics._fields]
        return Statistics(*(int(fields[name]) for name in names))

    def clear_statistics(self):
        self.command("clear port stats all")

    def link_up(self, port=0):
        return "Link status: up" in self.command(f"show port info {port}")

    # --- the end

    @property
    def pid(self):
        return self._process.pid

    def running(self):
        return self._process.poll() is None

    def log(self):
        return self._log.read_text(errors="replace")[-6000:] if self._log.exists() else ""

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def quit(self, timeout=30):
        """Ends by its own will: the back end sees the rings being stopped, then the end."""
        self._process.stdin.write(b"quit\n")
        self._process.stdin.flush()
        end = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < end:
            if select.select([self._process.stdout], [], [], 0.1)[0]:
                os.read(self._process.stdout.fileno(), 65536)
        if self._process.poll() is None:
            self.kill()
            raise CommandFailed(f"testpmd did not end within {timeout} s; it said:\n{self.log()}")

    def close(self):
        if self.running():
            self.kill()
        self._process.stdin.close()
        self._process.stdout.close()
        shutil.rmtree(self._runtime, ignore_errors=True)


def _cpus():
    """Every CPU this process may use, as testpmd's --lcores wants them."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))

