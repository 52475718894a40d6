"""A real VM: QEMU boots Debian's own kernel with a busybox user space, on a tap that already exists
or on a vhost-user socket.

Used by the thread of a test. The guest's serial console is QEMU's standard input and output: the
guest runs shell commands that come there, see guest_image.py. A guest that starts again, by its own
will or not, says once more that it is ready, and has its address again. What must stay true: the
network card has stock virtio settings, every offload negotiated as QEMU and the guest's kernel
like, unless the test asks for others, because that is what users run; and QEMU is gone when the
Guest is closed.

QEMU 7.2 crashes under TCG once a guest switches MSI-X on (a table only KVM sets up): vectors=0.
"""

import collections
import dataclasses
import json
import queue
import socket
import subprocess
import threading
import time

from tests.lab.guest_image import DONE, READY, image

BOOT_SECONDS = 120
# Properties of a network card (Vhost.device) with neither checksum nor segmentation offload.
NO_OFFLOADS = tuple(f"{side}_{what}=off" for side in ("guest", "host")
                    for what in ("tso4", "tso6", "ecn", "ufo")) + ("csum=off", "guest_csum=off")

Finished = collections.namedtuple("Finished", "code output")


@dataclasses.dataclass(frozen=True)
class Vhost:
    """A network card whose back end is at a socket. `listens`: QEMU is who listens there."""

    socket: str
    listens: bool = False
    queues: int = 1
    device: tuple = ()  # properties of virtio-net-pci, such as "packed=on"

    def words(self, mac, memory_mib):
        role = "server=on,wait=off" if self.listens else "reconnect=1"
        device = [f"virtio-net-pci,netdev=n0,mac={mac},romfile=,vectors=0"]
        if self.queues > 1:
            device.append("mq=on")
        return ("-object", f"memory-backend-memfd,id=m0,size={memory_mib}M,share=on",
                "-numa", "node,memdev=m0", "-chardev", f"socket,id=c0,path={self.socket},{role}",
                "-netdev", f"vhost-user,id=n0,chardev=c0,queues={self.queues}",
                "-device", ",".join([*device, *self.device]))


@dataclasses.dataclass(frozen=True)
class Tap:
    """A network card on a tap of the namespace that QEMU runs in."""

    device: str

    def words(self, mac, _):
        return ("-netdev", f"tap,id=n0,ifname={self.device},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=n0,mac={mac},romfile=,vectors=0")


def _numa(nodes, cpus, memory_mib):
    for node in range(nodes):
        first, end = node * cpus // nodes, (node + 1) * cpus // nodes
        yield from ("-object", f"memory-backend-ram,id=node{node},size={memory_mib // nodes}M",
                    "-numa", f"node,nodeid={node},cpus={first}-{end - 1},memdev=node{node}")


class Guest:
    """One running VM. `namespace` is where QEMU runs; it needs .command(*words) -> list.

    `network` is the name of a tap, a Vhost, or None. A guest with an `address` has it from its
    first moment, and after every reboot; one that `reboots` does not end its VM by doing so. With
    `incoming`, such as "unix:PATH", nothing boots: a VM of the same make migrates to there. What
    plug_memory() may add is `slots` times, up to 1 GiB in all. CPUs and memory are shared out among
    `nodes` NUMA nodes, in order. `initramfs`: a file to boot from in place of image()'s.
    """

    def __init__(self, namespace, network, mac, memory_mib=160, *, cpus=1, nodes=1,
                 address=None, reboots=False, incoming=None, slots=0, initramfs=None):
        kernel, stock_initramfs = image()
        self._lines = queue.Queue()
        self._console = collections.deque(maxlen=400)
        network = Tap(network) if isinstance(network, str) else network
        self._monitor, far_end = socket.socketpair()
        self._answers = self._monitor.makefile("r", encoding="utf-8")
        memory = f"{memory_mib}M" + (f",slots={slots},maxmem=1G" if slots else "")
        arguments = "console=ttyS0 quiet panic=-1" + (f" address={address}" if address else "")
        with far_end:
            self._process = subprocess.Popen(
                namespace.command(
                    "qemu-system-x86_64", "-accel", "tcg", "-m", memory, "-smp", cpus,
                    "-nodefaults", *([] if reboots else ["-no-reboot"]), "-display", "none",
                    *(_numa(nodes, cpus, memory_mib) if nodes > 1 else ()),
                    *(["-incoming", incoming] if incoming else []),
                    "-serial", "stdio", "-kernel", kernel, "-initrd", initramfs or stock_initramfs,
                    "-append", arguments, "-chardev", f"socket,id=qmp,fd={far_end.fileno()}",
                    "-mon", "chardev=qmp,mode=control",
                    *(network.words(mac, memory_mib) if network else ())),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", bufsize=1, pass_fds=[far_end.fileno()])
        self._obeys_monitor = False
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.kill()
        self._answers.close()
        self._monitor.close()

    def kill(self):
        """kill -9: nothing in the VM or in QEMU gets to say goodbye."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def pid(self):
        return self._process.pid

    def running(self):
        return self._process.poll() is None

    def monitor(self, command, timeout=30, **arguments):
        """A QMP command such as stop, cont, system_reset, query-status; what it returned."""
        self._monitor.settimeout(timeout)
        if not self._obeys_monitor:
            self._answers.readline()  # the greeting
            self._obeys_monitor = True
            self.monitor("qmp_capabilities")
        self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        for line in self._answers:
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(f"guest: QMP {command}: {answer['error']['desc']}")
            if "return" in answer:  # everything else is an event
                return answer["return"]
        raise AssertionError(f"guest: QEMU ended while it was told to {command}; console:\n"
                             f"{self.console()}")

    def plug_memory(self, name, mib):
        """One more DIMM, shared with the back end. What the guest's kernel makes of it is its own."""
        self.monitor("object-add", id=name, size=mib << 20, share=True,
                     **{"qom-type": "memory-backend-memfd"})
        self.monitor("device_add", driver="pc-dimm", id=f"dimm-{name}", memdev=name)

    def unplug_memory(self, name):
        """Asks the guest to let go of the DIMM; QEMU takes it away once the guest did."""
        self.monitor("device_del", id=f"dimm-{name}")

    def reboot(self, timeout=BOOT_SECONDS):
        """The guest's kernel restarts the machine, without a word to the network card's driver."""
        self._process.stdin.write("reboot -f\n")
        self.wait_for_boot(timeout)

    def reset(self, timeout=BOOT_SECONDS):
        """The reset button."""
        self.monitor("system_reset")
        self.wait_for_boot(timeout)

    def rebind(self):
        """Takes the driver off the network card, and gives it back."""
        self.run("device=$(basename $(readlink /sys/class/net/eth0/device)); "
                 "cd /sys/bus/virtio/drivers/virtio_net; echo $device >unbind && "
                 "! [ -e /sys/class/net/eth0 ] && echo $device >bind && network")

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\r\n"))
        self._lines.put(None)

    def _until(self, mark, timeout):
        """(lines before the line that starts with `mark`, that line)."""
        lines, deadline = [], time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"guest: no {mark} within {timeout} s; console:\n"
                                     + self.console()) from None
            if line is None:
                raise AssertionError(f"guest: QEMU ended with code {self._process.wait()}; "
                                     f"console:\n{self.console()}")
            self._console.append(line)
            if line.startswith(mark):
                return lines, line
            lines.append(line)

    def console(self):
        return "\n".join(self._console)

    def wait_for_boot(self, timeout=BOOT_SECONDS):
        self._until(READY, timeout)

    def run(self, command, timeout=60, check=True):
        """Runs one line of shell in the guest; Finished(exit code, output)."""
        self._process.stdin.write(command + "\n")
        lines, done = self._until(DONE, timeout)
        finished = Finished(int(done.split()[1]), "\n".join(lines).strip())
        if check and finished.code:
            raise AssertionError(f"guest: `{command}` ended with code {finished.code}:\n"
                                 f"{finished.output}")
        return finished
