"""What real VMs boot: Debian's own kernel, and an initramfs of busybox and the virtio modules.

The kernel comes from Debian's package, downloaded and unpacked, never installed; image and
initramfs are cached under build/guest, and so are the kernel's headers once a test builds a module
for it. Used by the thread of a test, of parallel runs too. The guest's user space reads one shell
command a line from its console, runs it, and ends its output with a line that carries the exit
code.
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


def newc(files):
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


def _depends(package):
    return subprocess.run(["apt-cache", "depends", package], text=True, capture_output=True,
                          check=False).stdout.split()


def _kernel_package():
    """The package that KERNEL_PACKAGE stands for; none when apt has no list that says."""
    return [word for word in _depends(KERNEL_PACKAGE)
            if word.startswith("linux-image-") and word != KERNEL_PACKAGE][:1]


def _header_packages(release):
    """What modules for the kernel `release` are compiled against."""
    headers = f"linux-headers-{release}"
    needed = [word for word in _depends(headers)
              if word.startswith(("linux-headers-", "linux-kbuild-"))]
    return sorted({headers, *needed}) if len(needed) > 1 else []


def _download(directory, what, packages_of):
    """Unpacks the packages that packages_of() names into `directory`, which is made.

    It returns nothing while apt's lists do not tell; `what` they are, for who reads the refusal.
    """
    directory.mkdir()
    done = None
    for refresh in (False, True):  # apt's lists may be missing, or too old to download by
        if refresh:
            subprocess.run(["apt-get", "update"], capture_output=True, timeout=600, check=False)
        packages = packages_of()
        if not packages:
            continue
        done = subprocess.run(["apt-get", "download", *packages], cwd=directory, text=True,
                              capture_output=True, timeout=600, check=False)
        if not done.returncode:
            break
    else:
        raise Unavailable(f"cannot download {what}: "
                          f"{done.stderr.strip() if done else 'apt knows no such package'}")
    for deb in directory.glob("*.deb"):
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
    return gzip.compress(newc(files), compresslevel=1)


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
            _download(pathlib.Path(making, "kernel"), KERNEL_PACKAGE, _kernel_package)
            pathlib.Path(making, "kernel").rename(unpacked)
        pathlib.Path(making, "initramfs").write_bytes(_initramfs(unpacked))
        pathlib.Path(making, "initramfs").rename(initramfs)
    return next(unpacked.glob("boot/vmlinuz-*")), initramfs


def kernel_module(name):
    """The file of one of the kernel's own modules."""
    image()
    return next((CACHE / "kernel").glob(f"lib/modules/*/kernel/**/{name}.ko"))


@functools.cache
def headers():
    """The directory in which modules for image()'s kernel are built, or Unavailable."""
    release = image()[0].name.removeprefix("vmlinuz-")
    unpacked = CACHE / f"headers-{release}"
    directory = unpacked / "usr" / "src" / f"linux-headers-{release}"
    with open(CACHE / "lock", "w") as lock, tempfile.TemporaryDirectory(dir=CACHE) as making:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpacked.exists():
            new = pathlib.Path(making, "headers")
            _download(new, f"the headers of Linux {release}", lambda: _header_packages(release))
            # They expect to be installed: one makefile includes another by its absolute path.
            makefile = new / directory.relative_to(unpacked) / "Makefile"
            makefile.write_text(makefile.read_text().replace("/usr/src/",
                                                             f"{unpacked}/usr/src/"))
            new.rename(unpacked)
    return directory
