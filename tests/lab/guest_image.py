"""What real VMs boot: Debian's own kernel, and an initramfs of busybox and the virtio modules.

The kernel comes from Debian's package, downloaded and unpacked, never installed; image and
initramfs are cached under build/guest. Used by the thread of a test, of parallel runs too. The
guest's user space reads one shell command a line from its console, runs it, and ends its output
with a line that carries the exit code.
"""

import fcntl
import functools
import gzip
import pathlib
import shutil
import stat
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "guest"
KERNEL_PACKAGE = "linux-image-cloud-amd64"  # a metapackage: the kernel is what it depends on
# In the order in which they need one another.
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "failover", "net_failover", "virtio_net")
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
network() {{  # what init does for the card; a test does it again after it bound the driver again
  ip link set eth0 up
  for word in $(cat /proc/cmdline); do
    case $word in address=*) ip addr add ${{word#*=}} dev eth0 ;; esac
  done
}}
network
echo; echo {READY}
while read -r line; do
  (eval "$line")
  code=$?
  echo; echo {DONE} $code
done
poweroff -f
"""


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
    """(kernel, initramfs), made on first use, or Unavailable. Parallel runs wait for the first."""
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
