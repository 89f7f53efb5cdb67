# SPDX-License-Identifier: BSD-3-Clause
"""What is tested of fwd in a virtual machine, between lab's client and server on two links."""

import hashlib
import json
import os
import time
from dataclasses import dataclass

from appliance.machine import MachineError
from example import LAB, DemoError, background, lab, wait_for, web_server

EXTERNAL = "192.0.2.1"
SERVER = "10.0.0.4"
WAN_CARD, LAN_CARD = "0000:01:00.0", "0000:02:00.0"
DOWNLOAD_BYTES = 16 << 20


class Failed(Exception):
    pass


def want(right, what):
    if not right:
        raise Failed(what)


class Tests:
    """One after the other, each on what those before it have left."""

    def __init__(self, vm, run, boot_seconds):
        self.vm = vm
        self.run = run
        self.boot_seconds = boot_seconds
        (vm.directory / "www").mkdir(exist_ok=True)
        content = os.urandom(DOWNLOAD_BYTES)
        (vm.directory / "www/big").write_bytes(content)
        self.sum = hashlib.sha256(content).hexdigest()

    def fwdctl(self, *arguments):
        return json.loads(self.vm.run("fwdctl --json " + " ".join(arguments)))

    def download(self, *options):
        file = self.vm.directory / "got"
        lab("exec", "client", "curl", "-sS", "--max-time", "60", *options, "-o", str(file), f"http://{EXTERNAL}/big")
        want(hashlib.sha256(file.read_bytes()).hexdigest() == self.sum, "what came is not what was sent")

    def is_served(self):
        try:
            lab("exec", "client", "curl", "-sS", "--connect-timeout", "1", "--max-time", "5", "-o", "/dev/null",
                f"http://{EXTERNAL}/index.html")
            return True
        except DemoError:
            return False

    def rules(self):
        return {rule["name"] for rule in self.fwdctl("list-rules")["rules"]}

    def udp(self, port, text):
        return lab("exec", "client", "sh", "-c", f"echo {text} | socat -t 3 - UDP:{EXTERNAL}:{port}")

    # --- the tests, in their order -----------------------------------------------------------------------------------

    def cards_are_given_to_vfio_behind_an_iommu(self):
        drivers = [card["driver"] for card in self.fwdctl("devices")["devices"]]
        want(drivers == ["vfio-pci", "vfio-pci"], f"drivers are {drivers}")
        self.vm.run(f"test -e /sys/bus/pci/devices/{WAN_CARD}/iommu_group")
        status, text = self.vm.try_run("fwdd --check /etc/fwd/fwd.conf")
        want(status == 0, text)
        want(self.fwdctl("status")["hugepages"], "fwdd runs on ordinary memory")

    def every_worker_receives(self):
        queues = [link["rx_queues"] for link in self.fwdctl("list-links")["links"]]
        want(queues == [self.vm.queues] * 2, f"links have {queues} queues")
        # What nobody explains is received as well. From 64 ports, for whoever spreads by them.
        lab("exec", "client", "bash", "-c", f"for i in {{1..64}}; do echo $i >/dev/udp/{EXTERNAL}/9; done")
        lab("exec", "server", "ping", "-c", "3", "-i", "0.2", "-W", "2", "10.0.0.1")
        received = [worker["received"] for worker in self.fwdctl("stats")["workers"]]
        want(len(received) == self.run.workers and all(received), f"workers have received {received} packets")

    def nobody_can_log_in_and_nothing_listens(self):
        want(self.vm.run("passwd --status root").split()[1] == "L", "root has a password")
        with_password = self.vm.run("cut -d: -f1,2 /etc/shadow | grep -v ':[!*]' || true")
        want(not with_password, f"may log in: {with_password}")
        listening = self.vm.run("ss -Htuln; ss -Hwln")
        want(not listening, f"listening: {listening}")

    def arp_and_ping_are_answered(self):
        lab("exec", "client", "ping", "-c", "3", "-i", "0.2", "-W", "2", EXTERNAL)
        neighbour = lab("exec", "client", "ip", "neighbour", "show", EXTERNAL)
        want(self.vm.cards[0][2] in neighbour, f"the client knows {neighbour}")

    def download_is_what_was_sent(self):
        self.vm.run(f"fwdctl add-rule tcp {EXTERNAL}:80 {SERVER}:8080 --name web")
        self.download()

    def udp_is_echoed(self):
        self.vm.run(f"fwdctl add-rule udp {EXTERNAL}:7 {SERVER}:7007 --name echo")
        log = self.vm.directory / "echo.log"
        with background(log, str(LAB), "exec", "server", "socat", "UDP-RECVFROM:7007,fork", "EXEC:cat"):
            wait_for(lambda: ":7007" in lab("exec", "server", "ss", "-Hlun"), "socat is not ready", 60)
            answer = self.udp(7, "hello")
        want(answer == "hello\n", f"the answer is {answer!r}")

    def icmp_error_of_a_closed_port_arrives(self):
        try:
            self.udp(7, "anybody")
        except DemoError as error:
            want("Connection refused" in str(error), str(error))
        else:
            raise Failed("nothing was refused")

    def kernel_is_reached_by_what_the_link_lists_alone(self):
        # Whatever comes to one of the two ports is told by which it came.
        for port in (22, 23):
            listener = f"systemd-socket-activate --accept --inetd --listen {port} echo port {port}"
            self.vm.run(f"systemd-run --quiet {listener}")
        wait_for(lambda: self.vm.run("ss -Htln").count("LISTEN") == 2, "the guest does not listen", 60)
        connect = ("exec", "client", "socat", "-u")
        try:
            answer = lab(*connect, f"TCP:{EXTERNAL}:22,connect-timeout=120", "STDOUT")
        except DemoError as error:
            # Where it has got lost: before the kernel, in it, or on the way back.
            counted = "fwdctl stats; ip -s link; ip address; ip route; ip neighbour; ss -tan; nstat"
            raise Failed(f"{error}\n{self.vm.run(counted)}") from None
        want(answer == "port 22\n", f"the answer is {answer!r}")
        try:
            lab(*connect, f"TCP:{EXTERNAL}:23,connect-timeout=5", "STDOUT")
        except DemoError as error:
            want("timed out" in str(error), str(error))
        else:
            raise Failed("the other port answers")

    def kernel_hears_the_group_of_a_listed_protocol(self):
        def to_kernel():
            return {row["link"]: row["to_kernel"] for row in self.fwdctl("stats")["host"]}["wan"]

        before = to_kernel()
        lab("exec", "client", "python3", "-c",
            "import socket\n"
            "wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)\n"
            "for _ in range(8): wire.sendto(bytes(20), ('224.0.0.18', 0))")
        wait_for(lambda: to_kernel() >= before + 8, "the kernel does not hear of VRRP", 60)

    def reload_disturbs_no_download(self):
        log = self.vm.directory / "download.log"
        file = self.vm.directory / "slow"
        with background(log, str(LAB), "exec", "client", "curl", "-sS", "--limit-rate", "1M", "-o", str(file),
                        f"http://{EXTERNAL}/big") as download:
            time.sleep(1)
            rule = f'name = "more"; protocol = "tcp"; external = "{EXTERNAL}:81"; target = "{SERVER}:8080";'
            self.vm.run(f"echo 'rules = ( {{ {rule} }} );' >>/etc/fwd/fwd.conf && systemctl reload fwd")
            want(download.poll() is None, "the download was over before")
            want(download.wait(60) == 0, log.read_text())
        want(hashlib.sha256(file.read_bytes()).hexdigest() == self.sum, "what came is not what was sent")
        want(self.rules() == {"web", "echo", "more"}, f"rules are {self.rules()}")
        lab("exec", "client", "curl", "-sS", "--max-time", "10", "-o", "/dev/null", f"http://{EXTERNAL}:81/index.html")

    def killed_fwdd_is_started_again_with_its_rules(self):
        before = self.rules()
        self.vm.run("systemctl kill --signal KILL fwd; sleep 1; "
                    "until fwdctl status >/dev/null 2>&1; do sleep 0.2; done")
        restarts = self.vm.run("systemctl show --property NRestarts --value fwd").strip()
        want(restarts == "1", f"systemd has started it {restarts} times again")
        want(self.rules() == before, f"rules are {self.rules()}")
        self.download()

    def link_goes_down_and_up(self):
        def is_up():
            return {link["name"]: link["up"] for link in self.fwdctl("list-links")["links"]}["wan"]

        self.vm.set_link(0, False)
        wait_for(lambda: not is_up(), "the link is not down", 60)
        want(not self.is_served(), "something passes")
        self.vm.set_link(0, True)
        wait_for(is_up, "the link is not up", 60)
        wait_for(self.is_served, "nothing passes", 60)
        self.download()

    def other_link_goes_on_without_a_card_that_is_pulled_out(self):
        process = self.fwdctl("status")["pid"]
        self.vm.pull_card(1)
        wait_for(lambda: not self.vm.has_card(1), "the card is not given back", 60)
        removed = {link["name"]: link["removed"] for link in self.fwdctl("list-links")["links"]}
        want(removed == {"wan": False, "lan": True}, f"removed: {removed}")
        lab("exec", "client", "ping", "-c", "3", "-i", "0.2", "-W", "2", EXTERNAL)
        want(not self.is_served(), "something passes")
        reasons = [drop["reason"] for drop in self.fwdctl("stats")["drops"]]
        want("link-removed" in reasons, f"dropped as {reasons}")
        want(self.fwdctl("status")["pid"] == process, "fwdd has been started again")
        self.vm.run(f"journalctl --unit fwd | grep -F 'link lan: its device {LAN_CARD} has been removed'")

    def card_that_is_put_back_works_after_a_restart(self):
        self.vm.try_run("systemctl restart fwd; systemctl stop fwd")
        self.vm.run("journalctl --unit fwd | grep -F 'which no card has'")
        self.vm.put_card(1)
        self.vm.run(f"until test -e /sys/bus/pci/devices/{LAN_CARD}; do sleep 0.1; done; "
                    f"fwdctl bind {LAN_CARD} && udevadm settle && systemctl reset-failed fwd && systemctl start fwd")
        wait_for(self.is_served, "nothing passes", 60)
        self.download()

    def durable_rules_outlive_a_power_cut(self):
        # For the test after this one. What systemd enables is not on the disk at once.
        self.vm.run(f"systemctl enable fwd-bind@{LAN_CARD} && sync")
        self.vm.run(f"fwdctl add-rule tcp {EXTERNAL}:82 {SERVER}:8080 --name last")
        self.vm.cut_power()
        self.vm.start(self.boot_seconds)
        want(self.fwdctl("status")["hugepages"], "fwdd runs on ordinary memory")
        # The configuration disk has none of those of the file that was changed in the machine.
        want(self.rules() == {"web", "echo", "last"}, f"rules are {self.rules()}")
        self.download()

    def unit_has_bound_its_card_at_boot(self):
        self.vm.run(f"systemctl is-active fwd-bind@{LAN_CARD}")
        # Whatever a configuration names is bound by the appliance as well, at the same time: either may be first.
        said = self.vm.run(f"journalctl --boot --output cat --unit fwd-bind@{LAN_CARD}")
        want(f"{LAN_CARD} has driver vfio-pci" in said, said)
        self.vm.run(f"readlink /sys/bus/pci/devices/{LAN_CARD}/driver | grep vfio-pci")


ALL = tuple(name for name, value in vars(Tests).items()
            if callable(value) and name not in ("__init__", "fwdctl", "download", "is_served", "rules", "udp"))
BASIC = ("cards_are_given_to_vfio_behind_an_iommu", "every_worker_receives", "arp_and_ping_are_answered",
         "download_is_what_was_sent", "udp_is_echoed", "link_goes_down_and_up",
         "other_link_goes_on_without_a_card_that_is_pulled_out")
SHORT = ("cards_are_given_to_vfio_behind_an_iommu", "arp_and_ping_are_answered", "download_is_what_was_sent",
         "udp_is_echoed", "kernel_is_reached_by_what_the_link_lists_alone",
         "kernel_hears_the_group_of_a_listed_protocol", "killed_fwdd_is_started_again_with_its_rules")


@dataclass(frozen=True)
class Run:
    """A machine that is booted for some of the tests."""

    nic: str
    workers: int
    names: tuple[str, ...]

    def settings(self):
        """Of links, beside those of a lab. What the basic tests are for has no part in the kernel."""
        return ['wan.host=["ssh", "vrrp"]'] if self.names != BASIC else []

    def __str__(self):
        return self.nic if self.workers == 1 else f"{self.nic}, {self.workers} workers"


RUNS = (Run("e1000e", 1, ALL), Run("virtio-net", 2, ALL), Run("e1000e", 2, BASIC), Run("vmxnet3", 1, BASIC))


def run_tests(vm, run, boot_seconds, tap, before):
    """Runs those of a run; returns how many failed."""
    tests = Tests(vm, run, boot_seconds)
    failed = 0
    with web_server(vm.directory):
        for number, name in enumerate(run.names, before + 1):
            started = time.monotonic()
            fault = ""
            try:
                getattr(tests, name)()
            except (Failed, DemoError, MachineError, OSError, ValueError, KeyError) as error:
                fault = f"{type(error).__name__}: {error}"
            fact = f"{run}: {name.replace('_', ' ')}"
            seconds = time.monotonic() - started
            if tap:
                print(f"{'not ok' if fault else 'ok'} {number} - {fact}", flush=True)
                print("".join(f"# {line}\n" for line in fault.splitlines()), end="", flush=True)
            else:
                print(f"  {'WRONG' if fault else 'right'}  {fact} ({seconds:.1f} s)" + (f"\n{fault}" if fault else ""),
                      flush=True)
            failed += bool(fault)
    return failed
