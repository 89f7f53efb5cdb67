# SPDX-License-Identifier: BSD-3-Clause
"""A virtual machine in the network of a lab: QEMU, its configuration disk, and a shell in it for whoever tests."""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Root's shell in the machine: nothing of the image has one, it comes with the test's own configuration disk.
SETUP = r"""
cat >/run/fwd-test-shell <<'END'
exec <>/dev/virtio-ports/fwd-test >&0
while read -r command; do
    bash -c "$(base64 -d <<<"$command")" >/run/fwd-test-output 2>&1 </dev/null
    echo "$? $(base64 -w 0 /run/fwd-test-output)"
done
END
systemd-run --quiet --unit fwd-test --property=Restart=always --property=StartLimitIntervalSec=0 \
    bash /run/fwd-test-shell
"""
NICS = {
    "e1000e": "e1000e",
    "vmxnet3": "vmxnet3",
    "virtio-net": "virtio-net-pci,disable-legacy=on,iommu_platform=on,ats=on",
}
FIRMWARE = Path("/usr/share/OVMF")


class MachineError(Exception):
    pass


def has_kvm():
    """Whether KVM starts a machine in less than 3 s: where it is emulated itself, it can be slower than QEMU alone."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    # A boot sector that writes to the port by which QEMU ends: status 2 * 0x10 + 1.
    sector = b"\xb0\x10\xe6\xf4\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa"
    with tempfile.NamedTemporaryFile(prefix="fwd-vm-") as disk:
        disk.write(sector.ljust(1 << 20, b"\0"))
        disk.flush()
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-accel", "kvm",
                   "-cpu", "host", "-M", "q35,kernel-irqchip=split", "-m", "64",
                   "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
                   "-drive", f"if=none,id=disk,file={disk.name},format=raw", "-device", "virtio-blk-pci,drive=disk"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=3).returncode == 33
    return False


class Progress:
    """One line that says how long something takes, as tools/progress has it."""

    def __init__(self, label):
        self.label = label
        self.started = time.monotonic()
        self.said = None

    def seconds(self):
        return int(time.monotonic() - self.started)

    def __call__(self, text=""):
        text = "".join(character for character in text if character.isprintable())
        line = f"{self.label}: {self.seconds()} s  {text}"
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K" + line[: shutil.get_terminal_size().columns - 1])
        elif self.said is None or self.seconds() >= self.said + 30:
            self.said = self.seconds()
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def end(self, word="done"):
        sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + f"{self.label}: {word} in {self.seconds()} s\n")
        sys.stderr.flush()


class Machine:
    """Its files are in a directory of the caller's; the cards' taps in the namespace that QEMU runs in."""

    def __init__(self, image, directory, namespace, cards, nic="e1000e", queues=1, firmware="bios",
                 memory=1024, accelerator=None):
        self.directory = directory
        self.namespace = namespace
        self.cards = cards  # (PCI slot of the port before it, tap, MAC address)
        self.nic = nic
        self.queues = queues
        self.firmware = firmware
        self.memory = memory
        self.accelerator = accelerator or ("kvm" if has_kvm() else "tcg")
        self.process = None
        self.boot_seconds = None
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image),
                        str(directory / "disk.qcow2")], check=True)
        if firmware == "uefi":
            shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", directory / "firmware.fd")

    def configure(self, text):
        """Makes the configuration disk."""
        disk = self.directory / "config.img"
        disk.unlink(missing_ok=True)
        subprocess.run(["mkfs.vfat", "-n", "FWD-CONFIG", "-C", str(disk), "1440"], check=True,
                       stdout=subprocess.DEVNULL)
        for name, content in (("fwd.conf", text), ("setup.sh", SETUP)):
            (self.directory / name).write_text(content)
            subprocess.run(["mcopy", "-i", str(disk), str(self.directory / name), "::"], check=True)

    def command(self):
        there = self.directory
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none",
            "-M", "q35,kernel-irqchip=split", "-m", str(self.memory), "-smp", "2",
            *(["-accel", "kvm", "-cpu", "host"] if self.accelerator == "kvm" else
              ["-accel", "tcg,thread=multi", "-cpu", "max,-la57"]),
            "-device", "intel-iommu,intremap=on,caching-mode=on",
            "-serial", f"file:{there}/console.log",
            "-qmp", f"unix:{there}/qmp,server=on,wait=off",
            "-drive", f"if=none,id=disk,file={there}/disk.qcow2,format=qcow2",
            "-device", "virtio-blk-pci,drive=disk,bootindex=0",
            "-drive", f"if=none,id=config,file={there}/config.img,format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=config",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=shell,path={there}/shell,server=on,wait=off",
            "-device", "virtserialport,chardev=shell,name=fwd-test",
            "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
        ]
        if self.firmware == "uefi":
            command += ["-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd",
                        "-drive", f"if=pflash,format=raw,file={there}/firmware.fd"]
        for number, (slot, tap, _) in enumerate(self.cards):
            # Each in a slot of its own, the first one on the first bus behind: cards can be pulled out there.
            command += ["-device", f"pcie-root-port,id=slot{number},chassis={number + 1},addr={slot}",
                        "-netdev", f"tap,id=net{number},ifname={tap},queues={self.queues},script=no,downscript=no",
                        "-device", ",".join(f"{name}={value}" for name, value in self.card(number).items())]
        return command

    def card(self, number):
        """What QEMU wants to know of one."""
        driver, *options = NICS[self.nic].split(",")
        if self.queues > 1:
            # An interrupt for each queue of either direction, for the configuration and for control.
            options += ["mq=on", f"vectors={2 * self.queues + 2}"]
        return {"driver": driver, **dict(option.split("=") for option in options), "romfile": "", "id": f"card{number}",
                "bus": f"slot{number}", "netdev": f"net{number}", "mac": self.cards[number][2]}

    def start(self, seconds):
        """Boots it and waits until fwdd is ready."""
        for name in ("console.log", "shell", "qmp"):
            (self.directory / name).unlink(missing_ok=True)
        with (self.directory / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", self.namespace, *self.command()],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        progress = Progress(f"booting by {self.firmware.upper()}, {self.nic}, {self.accelerator}")
        deadline = time.monotonic() + seconds
        self.qmp = self.connect("qmp", deadline).makefile("rw")
        self.qmp.readline()
        self.ask_qemu("qmp_capabilities")
        self.shell = self.connect("shell", deadline)
        self.answers = b""
        self.late = 0  # answers to commands that nobody waits for any more
        self.send("until fwdctl status >/dev/null 2>&1; do sleep 0.1; done")
        self.shell.settimeout(0.5)
        while b"\n" not in self.answers:
            if time.monotonic() > deadline:
                raise MachineError(f"not ready after {seconds} s:\n{self.end_of_console()}")
            self.check_life()
            progress(self.end_of_console(1))
            self.receive()
        self.take_answer()
        progress.end()
        self.boot_seconds = progress.seconds()

    def connect(self, name, deadline):
        while True:
            self.check_life()
            try:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(self.directory / name))
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > deadline:
                    raise MachineError(f"QEMU does not listen on {name}") from None
                time.sleep(0.05)

    def check_life(self):
        if self.process.poll() is not None:
            raise MachineError(f"QEMU has ended: {(self.directory / 'qemu.log').read_text().strip()}")

    def end_of_console(self, lines=25):
        try:
            text = (self.directory / "console.log").read_bytes().decode(errors="replace").replace("\r", "\n")
        except OSError:
            return ""
        return "\n".join([line for line in text.split("\n") if line.strip()][-lines:])

    # --- the shell ---------------------------------------------------------------------------------------------------

    def send(self, command):
        self.shell.sendall(base64.b64encode(command.encode()) + b"\n")

    def receive(self):
        with contextlib.suppress(TimeoutError):
            got = self.shell.recv(65536)
            if not got:
                raise MachineError("the machine's shell has gone")
            self.answers += got

    def take_answer(self):
        line, _, self.answers = self.answers.partition(b"\n")
        status, _, output = line.partition(b" ")
        return int(status), base64.b64decode(output).decode(errors="replace")

    def try_run(self, command, seconds=300):
        """Runs a shell command in the machine; its status and what it wrote."""
        self.send(command)
        deadline = time.monotonic() + seconds
        while self.answers.count(b"\n") <= self.late:
            if time.monotonic() > deadline:
                self.late += 1
                raise MachineError(f"{command}: no answer after {seconds} s")
            self.check_life()
            self.receive()
        for _ in range(self.late):
            self.take_answer()
        self.late = 0
        return self.take_answer()

    def run(self, command, seconds=300):
        status, output = self.try_run(command, seconds)
        if status != 0:
            raise MachineError(f"{command}: status {status}: {output.strip()}")
        return output

    # --- QEMU --------------------------------------------------------------------------------------------------------

    def ask_qemu(self, what, **arguments):
        self.qmp.write(json.dumps({"execute": what, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while line := self.qmp.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise MachineError(f"{what}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise MachineError("QEMU has ended")

    def set_link(self, number, up):
        self.ask_qemu("set_link", name=f"card{number}", up=up)

    def pull_card(self, number):
        """Asks the machine to let go of a card; has_card() says when it has."""
        self.ask_qemu("device_del", id=f"card{number}")

    def put_card(self, number):
        self.ask_qemu("device_add", **self.card(number))

    def has_card(self, number):
        return any(one["name"] == f"card{number}" for one in self.ask_qemu("qom-list", path="/machine/peripheral"))

    def peak_memory_kilobytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)

    def cut_power(self):
        """Ends it as a machine ends whose plug is pulled."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
