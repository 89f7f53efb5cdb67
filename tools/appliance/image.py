# SPDX-License-Identifier: BSD-3-Clause
"""The disk of the virtual machine: Debian, fwd's package and a boot loader, made without mounting anything."""

import os
import re
import shutil
import struct
import subprocess
import tempfile
import uuid
from pathlib import Path
from shlex import quote

import children

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tools/appliance"
IMAGE = ROOT / "build/fwd.qcow2"
# What an image is made of.
SOURCES = ("meson.build", "dataplane", "control", "conf", "tools/fwdctl", "tools/debian", "tools/documents",
           "tools/package", "tools/appliance/files", "tools/appliance/grub.cfg", "tools/appliance/image.py")
SECTOR = 512
MEBIBYTE = 1 << 20
FREE_MEBIBYTES = 700  # beside what is on the root: logs, rules, an update of the configuration

# Beside Debian's essential packages and what fwd's own depends on. No server of the network's among them.
PACKAGES = [
    "linux-image-amd64", "initramfs-tools", "zstd", "systemd-sysv", "udev", "kmod", "e2fsprogs", "fdisk", "iproute2",
    "pciutils", "procps", "less", "nano-tiny",
]
# Of what a forwarder has no use for there is much.
EXCLUDED = [
    "/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*",
    *(f"/lib/modules/*/kernel/{name}/*" for name in (
        "sound", "drivers/gpu", "drivers/media", "drivers/staging", "drivers/net/wireless", "drivers/bluetooth",
        "drivers/iio", "drivers/isdn", "drivers/input/touchscreen", "drivers/input/joystick", "drivers/video",
        "drivers/comedi", "drivers/hwmon", "drivers/power", "drivers/leds", "net/wireless",
        "net/mac80211", "net/bluetooth", "fs/ocfs2", "fs/ceph", "fs/btrfs", "fs/xfs", "fs/gfs2", "fs/jfs",
        "fs/reiserfs", "fs/f2fs", "fs/cifs", "fs/ntfs3", "fs/udf")),
]
INCLUDED = ["/usr/share/doc/fwd/*"]

# Before the kernel comes, whose initramfs follows from it.
BEFORE = r"""
set -eu
# Whatever the umask was when they were checked out.
tar -C "$FILES" --owner=0 --group=0 --mode=u=rwX,go=rX -c . | tar -C "$1" -x
"""
AFTER = r"""
set -eu
root=$1
chroot "$root" dpkg --install /fwd.deb
rm "$root/fwd.deb"
chroot "$root" chown root:fwd /etc/fwd
chroot "$root" systemctl --quiet enable fwd-appliance.service fwd.service
# One prompt on each console: without logind there would be six.
chroot "$root" systemctl --quiet mask getty-static.service
chroot "$root" passwd --quiet --lock root
"""
# What makes one machine of an image another than the next, and what names the builder's network. Without apt: the
# next version is another image.
FORGET = r"""
set -eu
root=$1
chroot "$root" dpkg --purge --force-remove-protected apt
echo fwd >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 fwd\n' >"$root/etc/hosts"
: >"$root/etc/machine-id"
rm -rf "$root"/etc/resolv.conf "$root"/etc/apt "$root"/var/lib/apt "$root"/var/cache/* "$root"/var/log/*.log \
    "$root"/var/log/apt "$root"/etc/ssh/ssh_host_* "$root"/var/lib/systemd/random-seed
mkdir -p "$root/var/log/journal" "$root/boot/efi"
"""


class ImageError(Exception):
    pass


def newer_source(image):
    """What has changed last since an image was made, if anything has: its path from the root."""
    files = [file for name in SOURCES for file in (ROOT / name, *(ROOT / name).rglob("*")) if file.is_file()]
    newest = max(files, key=lambda file: file.stat().st_mtime)
    return newest.relative_to(ROOT) if newest.stat().st_mtime > image.stat().st_mtime else None


def sources():
    """Debian's part of what apt gets packages from here, as lines of sources.list."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
         "Created-By: Packages"],
        capture_output=True, text=True, check=True)
    lines = [line.partition("|")[2] for line in done.stdout.splitlines() if line.startswith("Debian|")]
    if not lines:
        raise ImageError("apt knows no packages of Debian's: apt-get update")
    return sorted(set(lines))


def step(label, log, command, **options):
    done = children.run([str(ROOT / "tools/progress"), label, str(log), *map(str, command)], **options)
    if done.returncode != 0:
        raise ImageError(f"{label}: failed, see {log}")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise ImageError(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def debian(directory, package, more_packages, logs):
    """A root directory with everything in it."""
    depends = run("dpkg-deb", "-f", package, "Depends")
    names = re.sub(r"\([^)]*\)|\|[^,]*|\s", "", depends).split(",")
    release = Path("/etc/os-release").read_text().splitlines()
    suite = next(line for line in release if line.startswith("VERSION_CODENAME"))
    for name, text in (("before", BEFORE), ("after", AFTER), ("forget", FORGET)):
        (directory / name).write_text(text)
    command = [
        "mmdebstrap", "--variant=apt", f"--include={','.join([*PACKAGES, *names, *more_packages])}",
        *(f"--dpkgopt=path-exclude={path}" for path in EXCLUDED),
        *(f"--dpkgopt=path-include={path}" for path in INCLUDED),
        f"--essential-hook=FILES={quote(str(HERE))}/files sh {quote(str(directory))}/before \"$1\"",
        f"--customize-hook=cp {quote(str(package))} \"$1\"/fwd.deb",
        f"--customize-hook=sh {quote(str(directory))}/after \"$1\"",
        suite.partition("=")[2].strip('"'), directory / "root", *sources(),
    ]
    step("installing Debian into the image", logs / "vm-debian.log", command)
    run("sh", directory / "forget", directory / "root")


def grub_core(directory, kind, modules, filesystem):
    """The boot loader as one file; it finds its configuration by the root's UUID."""
    early = directory / "early.cfg"
    early.write_text(f"search --no-floppy --fs-uuid --set=root {filesystem}\nset prefix=($root)/boot/grub\n"
                     "configfile $prefix/grub.cfg\n")
    core = directory / f"core.{kind}"
    run("grub-mkimage", "--format", kind, "--output", core, "--config", early, "--prefix", "/boot/grub",
        "part_gpt", "ext2", "normal", "configfile", "search", "search_fs_uuid", "linux", "serial", "terminal",
        "test", "echo", *modules)
    return core


def write_bios_loader(disk, core, first_sector):
    """What grub-bios-setup writes: the boot sector knows where the rest is, and that where its own next sectors are."""
    boot = bytearray(Path("/usr/lib/grub/i386-pc/boot.img").read_bytes())
    rest = bytearray(core.read_bytes())
    struct.pack_into("<Q", boot, 0x5C, first_sector)
    boot[0x66:0x68] = b"\x90\x90"  # believes the BIOS about which disk this is
    struct.pack_into("<Q", rest, SECTOR - 12, first_sector + 1)
    with disk.open("r+b") as out:
        out.write(boot[:0x1B8])  # up to the partition table
        out.seek(first_sector * SECTOR)
        out.write(rest)


def efi_partition(directory, loader, size):
    partition = directory / "efi.img"
    with partition.open("wb") as out:
        out.truncate(size)
    run("mkfs.vfat", "-n", "FWD-EFI", partition)
    run("mmd", "-i", partition, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", partition, loader, "::/EFI/BOOT/BOOTX64.EFI")
    return partition


def copy_into(disk, part, offset):
    """Leaves holes where the part has them."""
    run("dd", f"if={part}", f"of={disk}", "bs=1M", f"seek={offset // MEBIBYTE}", "conv=notrunc,sparse")


def disk_of(directory, filesystem, logs):
    """A disk that boots by BIOS and by UEFI: GPT with GRUB's core, an EFI partition, and the root."""
    root = directory / "root"
    (root / "boot/grub").mkdir(parents=True, exist_ok=True)
    text = (HERE / "grub.cfg").read_text().replace("@ROOT@", filesystem)
    (root / "boot/grub/grub.cfg").write_text(text)
    fstab = root / "etc/fstab"
    fstab.write_text(fstab.read_text().replace("@ROOT@", filesystem))

    rootfs, disk = directory / "root.ext4", directory / "disk.raw"
    root_mebibytes = int(run("du", "-sm", root).split()[0]) * 11 // 10 + FREE_MEBIBYTES
    step("making the root's file system", logs / "vm-mkfs.log",
         ["mkfs.ext4", "-q", "-U", filesystem, "-L", "fwd-root", "-m", "1", "-d", root, rootfs, f"{root_mebibytes}M"])
    efi_at, root_at = 2 * MEBIBYTE, 10 * MEBIBYTE
    total = root_at + root_mebibytes * MEBIBYTE + MEBIBYTE
    with disk.open("wb") as out:
        out.truncate(total)
    run("sfdisk", "--quiet", disk, input=(
        "label: gpt\n"
        "start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios\n"
        "start=2MiB, size=8MiB, type=uefi, name=efi\n"
        f"start=10MiB, size={root_mebibytes}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root\n"))
    write_bios_loader(disk, grub_core(directory, "i386-pc", ["biosdisk"], filesystem), MEBIBYTE // SECTOR)
    loader = grub_core(directory, "x86_64-efi", ["fat", "efi_gop"], filesystem)
    copy_into(disk, efi_partition(directory, loader, root_at - efi_at), efi_at)
    copy_into(disk, rootfs, root_at)
    rootfs.unlink()
    return disk


def build(image, package, more_packages):
    """Makes the image; returns its size in bytes."""
    logs = image.parent
    image.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fwd-vm-", dir=image.parent) as name:
        directory = Path(name)
        directory.chmod(0o755)  # apt fetches as a user of its own
        debian(directory, package, more_packages, logs)
        disk = disk_of(directory, str(uuid.uuid4()), logs)
        new = directory / "image.qcow2"
        step("compressing the image", logs / "vm-qcow2.log",
             ["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", disk, new])
        shutil.rmtree(directory / "root")
        owner = image.parent.stat()
        os.chown(new, owner.st_uid, owner.st_gid)
        os.replace(new, image)
    return image.stat().st_size
