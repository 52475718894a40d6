"""A Debian machine: a root file system of Debian's packages, and systemd as process 1 in it.

For what is about an installed vmqd. The file system is made once with mmdebstrap, is kept below
build/, and every Machine sees it through an overlay of its own; its namespaces (network included)
are its own, too. Used by the thread of a test. What must stay true: close() ends every process of
the machine and leaves no mount and no control group.
"""

import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import tempfile

import pytest

from tests.lab.endpoints import wait_until
from tests.lab.namespaces import CommandFailed, run
from tests.lab.vmqd import BUILD, ROOT

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# What is looked at and looked with; vmqd's own dependencies come from its packages.
INCLUDE = ["systemd", "systemd-sysv", "dbus", "iproute2", "iputils-ping", "procps", "man-db",
           "bash-completion"]
CACHE = ROOT / "build" / "machines"
_numbers = itertools.count()

# Becomes process 1 of the machine; $1 is its root. The device nodes are bound, not made: a container
# may not make any.
BOOT = r"""
set -e
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf -o mode=0700 bpf sys/fs/bpf     # as systemd mounts it
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm dev/net
for node in null zero full random urandom tty net/tun; do
  touch "dev/$node"
  mount --bind "/dev/$node" "dev/$node"
done
chmod 666 dev/net/tun                        # as udev does
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mkdir -p old
pivot_root . old
umount -l old
rmdir old
ip link set lo up
exec env -i container=vmqd-lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
"""


@functools.cache
def packages():
    """The .deb files, vmqd-cli first. What is built already is packed; nothing is built for it."""
    for tool, package in (("dpkg-shlibdeps", "dpkg-dev"), ("cpack", "cmake")):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed (package {package})")
    for old in CACHE.glob("packages-*"):  # of runs that ended; a worker of pytest has no last moment
        if not os.path.exists(f"/proc/{old.name.split('-')[1]}"):
            shutil.rmtree(old, ignore_errors=True)
    directory = CACHE / f"packages-{os.getpid()}"
    directory.mkdir(parents=True)
    run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", directory, timeout=300)
    found = sorted(directory.glob("*.deb"))
    assert [re.match("[a-z-]+", file.name)[0] for file in found] == ["vmqd-cli", "vmqd"]
    return found


def dependencies():
    """Names of packages that ours depend on, of alternatives the first."""
    names = set()
    for package in packages():
        fields = run("dpkg-deb", "--field", package, "Depends").stdout
        names |= {re.match(r"[a-z0-9+.-]+", clause.strip())[0]
                  for clause in fields.split(",") if clause.strip()}
    return names


def base():
    """The root of a machine that has everything our packages need, but not them."""
    names = sorted((dependencies() | set(INCLUDE)) - {"vmqd", "vmqd-cli"})
    key = hashlib.sha256(" ".join([SUITE, *names]).encode()).hexdigest()[:16]
    root = CACHE / key
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:  # tests run in parallel
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            make_base(root, names)
    return root


def make_base(root, names):
    if not shutil.which("mmdebstrap"):
        pytest.skip("mmdebstrap is not installed")
    if run("apt-get", "update", "--error-on=any", check=False, timeout=300).returncode and not \
            reachable():
        pytest.skip(f"this machine does not reach a Debian mirror ({MIRROR})")
    unfinished = root.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    run("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(names)}",
        SUITE, unfinished, timeout=900)
    unfinished.rename(root)


def reachable():
    """Whether the mirror has a release file for us."""
    return run("/usr/lib/apt/apt-helper", "download-file", f"{MIRROR}/dists/{SUITE}/Release",
               "/dev/null", check=False, timeout=120).returncode == 0


def may_raise_limits():
    """Whether LimitMEMLOCK= of a unit has any effect here; a container may lack CAP_SYS_RESOURCE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard == resource.RLIM_INFINITY:
        return True
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, resource.RLIM_INFINITY))
    except (PermissionError, ValueError):
        return False
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
    return True


class Machine:
    """Off at first: chroot() works inside, then boot() and run()."""

    def __init__(self):
        lower = base()
        self.name = f"vq-{os.getpid()}-{next(_numbers)}-machine"
        self.stack = contextlib.ExitStack()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="vq-"))
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.root = self.directory / "root"
        # An upper layer needs a file system that can be one; what the machine's own is, is not known.
        self.mount("-t", "tmpfs", "tmpfs", self.directory)
        for name in ("root", "upper", "work", "cgroup"):
            (self.directory / name).mkdir()
        self.mount("-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={self.directory}"
                   f"/upper,workdir={self.directory}/work", self.root)
        self.init = None
        if not may_raise_limits():
            drop_in = self.root / "etc/systemd/system/vmqd.service.d/lab.conf"
            drop_in.parent.mkdir(parents=True)
            drop_in.write_text("[Service]\nCapabilityBoundingSet=CAP_IPC_LOCK\n"
                               "AmbientCapabilities=CAP_IPC_LOCK\n")

    def mount(self, *words):
        done = run("mount", *words, check=False)
        if done.returncode:
            self.close()
            pytest.skip(f"this machine does not allow: mount {' '.join(map(str, words))}")
        self.stack.callback(run, "umount", "-l", words[-1], check=False)

    def chroot(self, *words, check=True, timeout=120):
        """A command in the machine while it is off, in a network namespace with nothing in it."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
                       "LC_ALL": "C.UTF-8"}
        return run("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "chroot",
                   self.root, *words, check=check, timeout=timeout, env=environment)

    def install(self, files=None):
        """dpkg installs these .deb files, or ours."""
        files = files or packages()
        for file in files:
            shutil.copy(file, self.root / "root")
        call = self.run if self.init else self.chroot
        return call("dpkg", "--install", *(f"/root/{file.name}" for file in files))

    def boot(self):
        """Until systemd has started all it wants to."""
        self.mount("-t", "cgroup2", "cgroup2", self.directory / "cgroup")
        group = self.directory / "cgroup" / self.name
        group.mkdir()
        self.stack.callback(self.remove_groups, group)
        log = open(self.directory / "boot.log", "w")
        self.stack.callback(log.close)
        process = subprocess.Popen(
            ["sh", "-c", f"echo 0 >{group}/cgroup.procs; exec \"$@\"", "sh",
             "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--uts", "--ipc", "--net",
             "--pid", "--cgroup", "--fork", "--kill-child", "--propagation", "private", "bash", "-c", BOOT, "boot", self.root],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)

        def child():
            if process.poll() is not None:
                raise CommandFailed(f"the machine went down: {self.boot_log()}")
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            return children.split()[0] if children else None

        self.init = wait_until(child, 10, what="process 1")
        wait_until(lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip()
                   in ("running", "degraded"), 90, 0.2, what="the machine being up")
        return self

    def boot_log(self):
        return (self.directory / "boot.log").read_text()[-3000:]

    def run(self, *words, check=True, timeout=120):
        """A command on the running machine."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
                       "LC_ALL": "C.UTF-8"}
        return run("nsenter", "--target", self.init, "--all", "--", *words, check=check,
                   timeout=timeout, env=environment)

    def shell(self, text, **kwargs):
        return self.run("bash", "-c", text, **kwargs)

    def unit(self, name, *properties):
        """{property: value} of systemctl show."""
        shown = self.run("systemctl", "show", name, f"--property={','.join(properties)}").stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def host_pid(self, service):
        """The number that its first process has outside."""
        group = self.directory / "cgroup" / self.name / "system.slice" / f"{service}.service"
        return int((group / "cgroup.procs").read_text().split()[0])

    def journal(self, unit="vmqd"):
        return self.run("journalctl", "--unit", unit, "--no-pager", "--output", "short-precise",
                        check=False).stdout

    def populate(self):
        """An uplink, eth1, and ports vm1 and host on it: all that the sandbox might forbid."""
        self.shell("ip link add eth1 type veth peer name wire0 && ip link set eth1 up && "
                   "ip link set wire0 up && ip addr add 10.0.0.254/24 dev wire0")
        self.run("vmqd-cli", "uplink", "add", "eth1")
        self.run("vmqd-cli", "port", "add", "vm1", "--tap", "vm1", "--mac", "02:00:00:00:00:01")
        self.run("vmqd-cli", "port", "add", "host", "--host", "vhost0", "--mac",
                 "02:00:00:00:00:02")
        self.shell("ip netns add far && ip link set vhost0 netns far && ip -n far link set vhost0 "
                   "address 02:00:00:00:00:02 up && ip -n far addr add 10.0.0.1/24 dev vhost0")
        self.ping()

    def ping(self):
        """From the host port over the switch to the far end of the uplink."""
        self.run("ip", "netns", "exec", "far", "ping", "-n", "-c", "3", "-i", "0.1", "-W", "5",
                 "10.0.0.254")

    def ports(self):
        """Names of the switch's ports; None when no daemon answers."""
        done = self.run("vmqd-cli", "-o", "json", "port", "list", check=False)
        if done.returncode:
            return None
        return [port["name"].split("/")[1] for port in json.loads(done.stdout).get("ports", [])]

    def files(self):
        """Every path, but what changes by itself: logs, caches and the machine's volatile parts."""
        volatile = ("proc", "sys", "dev", "run", "tmp", "root", "var/log", "var/cache", "var/tmp",
                    "var/lib/systemd", "var/lib/dpkg", "var/lib/apt")
        found = set()
        for directory, names, files in os.walk(self.root):
            inside = os.path.relpath(directory, self.root)
            names[:] = [name for name in names
                        if os.path.normpath(os.path.join(inside, name)) not in volatile]
            found |= {os.path.normpath(os.path.join(inside, name)) for name in names + files}
        return found

    @staticmethod
    def remove_groups(group):
        def gone():
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            return not group.exists()
        wait_until(gone, 20, what="no process left in the machine")

    def close(self):
        self.stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
