"""A VM that has what no machine of the lab has: a NIC that takes rules, vmqnic, and vmqd on it.

The driver (tests/lab/vmqnic) is compiled against the headers of the guest's kernel. The guest boots
guest_image's initramfs with a second archive behind it: the driver, the daemon and its client as
they were built, ethtool, the sender, the front end of a vhost-user port, and the libraries they are
linked with. It has no other network card; both ends of the NIC are in the guest, the wire in a namespace of its own.

Used by the thread of a test. Files are made anew for every run, below a directory that the test
gives.
"""

import collections
import json
import pathlib
import re
import shutil
import stat
import subprocess

from tests.lab import guest, guest_image
from tests.lab.endpoints import wait_until
from tests.lab.namespaces import CommandFailed
from tests.lab.vmqd import BUILD, CLI, VMQD

SOURCES = pathlib.Path(__file__).parent / "vmqnic"
SENDER, VHOST_GUEST = (BUILD / "tests" / "lab" / name for name in ("vmqd_lab_send", "vmqd_lab_guest"))
# In the order in which they need one another; the guest loads them before the driver.
MODULES = ("veth", "sch_ingress", "cls_bpf")
NIC, WIRE = "vmqnic0", "vmqnic0-wire"
CONTEXTS = 8  # VMQNIC_CONTEXTS


def build_module(directory):
    """Compiles the driver; the file vmqnic.ko. A warning is an error."""
    headers = guest_image.headers()
    sources = pathlib.Path(directory) / "vmqnic"
    shutil.copytree(SOURCES, sources)
    done = subprocess.run(["make", "-C", headers, f"M={sources}", "W=1", "KCFLAGS=-Werror",
                           "modules"], text=True, capture_output=True, timeout=300, check=False)
    if done.returncode:
        raise CommandFailed(f"the driver was not built:\n{done.stdout}{done.stderr}")
    return sources / "vmqnic.ko"


def libraries(*programs):
    """The files of shared libraries these programs load, by the path under which they look."""
    listed = subprocess.run(["ldd", *programs], text=True, capture_output=True, check=True).stdout
    return set(re.findall(r"(/\S+) \(0x", listed))


def initramfs(directory):
    """The file that the guest boots from."""
    directory = pathlib.Path(directory)
    programs = {"vmqd": VMQD, "vmqd-cli": CLI, "send": SENDER, "guest": VHOST_GUEST,
                "ethtool": shutil.which("ethtool"), "ip": shutil.which("ip")}
    content = {}
    for name, program in programs.items():
        plain = directory / name
        subprocess.run(["strip", "-o", plain, program], check=True)
        content[f"opt/{name}"] = plain.read_bytes()
    for library in libraries(*programs.values()):
        content[library.lstrip("/")] = pathlib.Path(library).read_bytes()
    modules = [guest_image.kernel_module(name) for name in MODULES] + [build_module(directory)]
    for module in modules:
        content[f"modules/{module.name}"] = module.read_bytes()
    folders = {str(parent) for path in content for parent in pathlib.PurePath(path).parents}
    # Below /opt, because busybox takes its own ip for any other.
    files = [(path, stat.S_IFDIR | 0o755, b"") for path in sorted(folders - {"."})]
    files += [(path, stat.S_IFREG | 0o755, data) for path, data in content.items()]
    stock = guest_image.image()[1].read_bytes()
    made = directory / "initramfs"
    # The kernel unpacks archive behind archive, each at a multiple of four.
    made.write_bytes(stock + bytes(-len(stock) % 4) + guest_image.newc(files))
    return made


class Here:
    """Where QEMU runs: it has no network card that would need a namespace."""

    def command(self, *words):
        return [str(word) for word in words]


class VmqnicGuest(guest.Guest):
    """The VM, booted. plug() gives it a new NIC, start() a new vmqd."""

    CONTROL = "unix:/tmp/vmqd.sock"
    VMQD = (f"/opt/vmqd --address {CONTROL} --state-directory /tmp/state "
            "--bpf-directory /sys/fs/bpf/vmqd --vhost-directory /tmp/vhost")

    def __init__(self, directory, cpus=2, nodes=1):
        super().__init__(Here(), None, None, memory_mib=400, cpus=cpus, nodes=nodes,
                         initramfs=initramfs(directory))

    def set_up(self):
        self.wait_for_boot()
        quiet = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"  # no frames but the test's
        self.run(f"mount -t bpf bpf /sys/fs/bpf; mkdir -p /run/netns; {quiet}; "
                 f"for m in {' '.join(MODULES)}; do insmod /modules/$m.ko || exit 1; done; "
                 f"/opt/ip netns add wire; /opt/ip netns exec wire sh -c '{quiet}'")

    # --- the card and its wire

    def plug(self, **parameters):
        """A card as it comes out of the box, with its wire up."""
        words = " ".join(f"{name}={value}" for name, value in parameters.items())
        self.run(f"insmod /modules/vmqnic.ko {words} && /opt/ip link set {WIRE} netns wire && "
                 f"/opt/ip -n wire link set {WIRE} up && /opt/ip link set {NIC} up")
        wait_until(lambda: self.run(f"cat /sys/class/net/{NIC}/carrier").output == "1",
                   what="a link on the card")

    def unplug(self):
        self.run("rmmod vmqnic")

    def set_knob(self, name, value):
        """A parameter of the driver, such as refuse_rules."""
        self.run(f"echo {value} >/sys/module/vmqnic/parameters/{name}")

    def ethtool(self, option, *words, check=True):
        return self.run(" ".join(["/opt/ethtool", option, NIC, *map(str, words)]), check=check)

    def rules(self):
        """{location: (MAC, VLAN or None, queue)}, as the card has them. The "queue" of a rule that
        names an RSS context is the set of those it is over."""
        rules = {}
        for text in self._list_rules().split("Filter: ")[1:]:
            mac = re.search(r"Dest MAC addr: (\S+)", text)[1].lower()
            vlan = re.search(r"VLAN: (0x\w+)", text)
            queue = int(re.search(r"Direct to queue (\d+)", text)[1])
            context = re.search(r"RSS Context ID: (\d+)", text)
            if context:
                assert queue == 0, "what the context says is added to it"
                queue = self.contexts()[int(context[1])]
            rules[int(text.split()[0])] = (mac, int(vlan[1], 16) & 0xFFF if vlan else None, queue)
        return rules

    def _list_rules(self):
        listed = None

        def read():
            nonlocal listed
            listed = self.ethtool("-n", check=False)
            # ethtool counts them first, and there may be one more when it reads them.
            return not listed.code or "Message too long" not in listed.output
        wait_until(read, what="a table of rules that stays as it is")
        assert not listed.code, listed.output
        return listed.output

    def contexts(self):
        """{number: the set of its queues}, of RSS contexts beside the card's own."""
        found = {number: self.indirection("context", number) for number in range(1, CONTEXTS)}
        return {number: frozenset(table) for number, table in found.items() if table}

    def indirection(self, *context):
        """The queue of each entry of the card's indirection table; none when it is not there."""
        table = self.ethtool("-x", *context, check=not context).output.split("RSS hash key")[0]
        return [int(queue) for line in re.findall(r"^ *\d+:(.*)$", table, re.M)
                for queue in line.split()]

    def ntuple(self):
        return "ntuple-filters: on" in self.ethtool("-k").output

    def send(self, mac, count, vlan=None, flows=64):
        """`count` frames for `mac` into the wire; frames the card received by queue."""
        before = self._received()
        self.run(f"/opt/ip netns exec wire /opt/send {WIRE} {count} {flows} {mac} {vlan or ''}")
        wait_until(lambda: sum(self._received()) - sum(before) >= count, what="the frames received")
        return [now - then for now, then in zip(self._received(), before)]

    def _received(self):
        counters = self.ethtool("-S").output
        return [int(count) for count in re.findall(r"rx_queue_\d+_packets: (\d+)", counters)]

    # --- vmqd

    def start(self):
        """The daemon, on the state that is there."""
        self.run(f"({self.VMQD} >>/tmp/vmqd.log 2>&1 &)")
        wait_until(lambda: not self.call("switch", "show").code, 30, what="vmqd answering")

    def call(self, *words):
        return self.run(" ".join(["/opt/vmqd-cli", "--address", self.CONTROL, "-o", "json",
                                  *map(str, words)]), check=False)

    def cli(self, *words):
        """vmqd-cli that must succeed; its JSON."""
        done = self.call(*words)
        if done.code:
            raise CommandFailed(f"vmqd-cli {' '.join(map(str, words))}: exit code {done.code}\n"
                                f"{done.output}\n--- log\n{self.log()}")
        return json.loads(done.output) if done.output else {}

    def add_vm(self, name, mac, *options):
        """A VETH port whose other end is up, and takes what it gets."""
        self.cli("port", "add", name, "--veth", f"{name},{name}-p", "--mac", mac, *options)
        self.run(f"/opt/ip link set {name}-p up")
        wait_until(lambda: self.cli("port", "show", name)["operStatus"] == "UP",
                   what=f"port {name} up")

    def add_vhost(self, name, mac, pairs, *options):
        """A vhost-user port with so many queue pairs, and a VM that uses them all."""
        self.cli("port", "add", name, "--vhost-user", f"{name}.sock", "--queue-pairs", pairs,
                 "--mac", mac, *options)
        self.run(f"(/opt/guest /tmp/vhost/{name}.sock {pairs} >/tmp/{name}.pairs 2>&1 &)")
        wait_until(lambda: self.cli("port", "show", name)["operStatus"] == "UP",
                   what=f"port {name} up")

    def received(self, name):
        """Frames that VM has received, by pair."""
        lines = self.run(f"cat /tmp/{name}.pairs").output.split()
        return collections.Counter(int(line) for line in lines)

    def end(self, signal="TERM"):
        self.run(f"kill -{signal} $(pidof vmqd)")
        wait_until(lambda: self.run("pidof vmqd", check=False).code, 30, what="vmqd ended")

    def clean_up(self):
        """Whatever state vmqd is in: it, its devices and what it remembers are gone."""
        if not self.run("pidof vmqd", check=False).code:
            self.end("KILL")
        self.run(f"killall guest; {self.VMQD} --cleanup; "
                 "rm -rf /tmp/state /tmp/vmqd.log /tmp/*.pairs", check=False)

    def log(self):
        return self.run("tail -c 3000 /tmp/vmqd.log", check=False).output
