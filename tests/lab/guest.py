"""A real VM: QEMU boots Debian's own kernel with a busybox user space on a tap that already exists.

Used by the thread of a test. The kernel comes from Debian's package, downloaded and unpacked, never
installed; image and initramfs are cached under build/guest. The guest's serial console is QEMU's
standard input and output: the guest reads one shell command a line there, runs it, and ends its
output with a line that carries the exit code. What must stay true: the network card has stock virtio
settings, every offload negotiated as QEMU and the guest's kernel like, because that is what users
run; and QEMU is gone when the Guest is closed.

QEMU 7.2 crashes under TCG once a guest switches MSI-X on (a table only KVM sets up), hence vectors=0.
"""

import collections
import fcntl
import functools
import gzip
import pathlib
import queue
import shutil
import stat
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "guest"
KERNEL_PACKAGE = "linux-image-cloud-amd64"  # a metapackage: the kernel is what it depends on
# In the order in which they need one another.
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "failover", "net_failover", "virtio_net")
BOOT_SECONDS = 120
READY = "@@ready"
DONE = "@@done"

# The console echoes nothing, so that everything between two DONE lines is output.
INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /usr/bin /usr/sbin /sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for module in {" ".join(MODULES)}; do insmod /modules/$module.ko; done
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo
ip link set lo up
ip link set eth0 up
echo; echo {READY}
while read -r line; do
  (eval "$line")
  code=$?
  echo; echo {DONE} $code
done
poweroff -f
"""

Finished = collections.namedtuple("Finished", "code output")


class Unavailable(Exception):
    """Why this machine cannot run a guest; a test skips with it."""


def _newc(files):
    """A cpio archive, format newc, of (path, mode, content); directories have no content."""
    out = bytearray()

    def put(path, mode, content, number):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        out.extend(b"070701" + b"".join(b"%08X" % field for field in fields) + name)
        out.extend(bytes(-len(out) % 4) + content)
        out.extend(bytes(-len(out) % 4))

    for number, (path, mode, content) in enumerate(files, start=1):
        put(path, mode, content, number)
    put("TRAILER!!!", 0, b"", 0)
    return bytes(out)


def _kernel_package():
    """The package that KERNEL_PACKAGE stands for, or None when apt has no list that says."""
    depends = subprocess.run(["apt-cache", "depends", KERNEL_PACKAGE], text=True,
                             capture_output=True, check=False).stdout.split()
    return next((word for word in depends if word.startswith("linux-image-")
                 and word != KERNEL_PACKAGE), None)


def _download_kernel(directory):
    """Unpacks the newest kernel package into `directory`, which is made."""
    directory.mkdir()
    done = None
    for refresh in (False, True):  # apt's lists may be missing, or too old to download by
        if refresh:
            subprocess.run(["apt-get", "update"], capture_output=True, timeout=600, check=False)
        package = _kernel_package()
        if not package:
            continue
        done = subprocess.run(["apt-get", "download", package], cwd=directory, text=True,
                              capture_output=True, timeout=600, check=False)
        if not done.returncode:
            break
    else:
        raise Unavailable(f"cannot download {KERNEL_PACKAGE}: "
                          f"{done.stderr.strip() if done else 'apt knows no such package'}")
    deb = next(directory.glob("*.deb"))
    subprocess.run(["dpkg-deb", "-x", deb, directory], check=True)
    deb.unlink()


def _initramfs(unpacked):
    """The gzipped archive: busybox, the virtio modules, /init."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise Unavailable("busybox is not installed (package busybox-static)")
    found = {path.stem: path for path in unpacked.glob("lib/modules/*/kernel/**/*.ko")}
    missing = [name for name in MODULES if name not in found]
    if missing:
        raise Unavailable(f"the kernel package has no module {', '.join(missing)}")
    files = [(path, stat.S_IFDIR | 0o755, b"") for path in ("bin", "dev", "modules")]
    files += [("bin/busybox", stat.S_IFREG | 0o755, pathlib.Path(busybox).read_bytes()),
              ("init", stat.S_IFREG | 0o755, INIT.encode())]
    files += [(f"modules/{name}.ko", stat.S_IFREG | 0o644, found[name].read_bytes())
              for name in MODULES]
    return gzip.compress(_newc(files), compresslevel=1)


@functools.cache
def image():
    """(kernel, initramfs), made on first use; raises Unavailable. Parallel runs wait for the first."""
    if not shutil.which("qemu-system-x86_64"):
        raise Unavailable("qemu-system-x86_64 is not installed (package qemu-system-x86)")
    CACHE.mkdir(parents=True, exist_ok=True)
    unpacked, initramfs = CACHE / "kernel", CACHE / "initramfs.gz"
    with open(CACHE / "lock", "w") as lock, tempfile.TemporaryDirectory(dir=CACHE) as making:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpacked.exists():
            _download_kernel(pathlib.Path(making, "kernel"))
            pathlib.Path(making, "kernel").rename(unpacked)
        pathlib.Path(making, "initramfs").write_bytes(_initramfs(unpacked))
        pathlib.Path(making, "initramfs").rename(initramfs)
    return next(unpacked.glob("boot/vmlinuz-*")), initramfs


class Guest:
    """One running VM. `namespace` is where the tap is; it needs .command(*words) -> list."""

    def __init__(self, namespace, tap, mac, memory_mib=160):
        kernel, initramfs = image()
        self._lines = queue.Queue()
        self._console = collections.deque(maxlen=400)
        self._process = subprocess.Popen(
            namespace.command(
                "qemu-system-x86_64", "-accel", "tcg", "-m", memory_mib, "-nodefaults", "-no-reboot",
                "-display", "none", "-serial", "stdio", "-kernel", kernel, "-initrd", initramfs,
                "-append", "console=ttyS0 quiet panic=-1",
                "-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=n0,mac={mac},romfile=,vectors=0"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", bufsize=1)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

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
