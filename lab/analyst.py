# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Be the analyst: take the ready mail of a case and log in with what it says.

    python -m lab.analyst INC-2026-0042                      a shell on the host, by the very command of the mail
    python -m lab.analyst INC-2026-0042 -- sudo dfir-end     one command
    python -m lab.analyst --source analyst INC-2026-0042     straight from the analyst's address, whatever the mail says
    python -m lab.analyst --source stranger INC-2026-0042    from an address that no security group admits

The host's key is compared with the fingerprints in the mail, as a careful analyst does.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from .config import CHECKOUT, LabConfig, load
from .mail.reader import Mail, list_mails


def ready_mail(config: LabConfig, incident: str) -> Mail:
    """The newest ready mail of a case."""
    mails = [mail for mail in list_mails(config.mails) if incident in mail.subject and "ready" in mail.subject.lower()]
    if not mails:
        raise SystemExit(f"No ready mail of {incident} has arrived; `make lab-status` lists the mails there are.")
    return mails[-1]


def told(mail: Mail) -> list[str]:
    """The command that the mail tells to connect with, word for word."""
    text = mail.text.partition("\nCONNECT\n")[2].partition("\n  The host must show")[0]
    words = shlex.split(text.replace("\\\n", " "))
    if not words or words[0] != "ssh":
        raise SystemExit(f"The mail {mail.path.name} tells no command to connect with.")
    return words


def login(config: LabConfig, mail: Mail, source: str, known_hosts: Path) -> list[str]:
    """The mail's own ssh command, or one from another address; with a file of its own for the host's keys."""
    checks = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", f"UserKnownHostsFile={known_hosts}",
              "-o", "GlobalKnownHostsFile=/dev/null", "-o", "HashKnownHosts=no"]
    if source == "mail":
        *command, target = told(mail)
        return [*command, *checks, target]
    found = re.search(r"\b(\S+)@(172\.31\.\d+\.\d+)\b", mail.text)
    if not found:
        raise SystemExit(f"The mail {mail.path.name} names no address to log in to.")
    relay = f"{sys.executable} -I {CHECKOUT}/lab/network/relay_client.py {config.relay(source)} %h %p"
    return ["ssh", "-i", str(config.keys / "analyst"), "-o", "IdentitiesOnly=yes", "-o", f"ProxyCommand={relay}",
            *checks, f"{found[1]}@{found[2]}"]


def trust(command: list[str], mail: Mail, known_hosts: Path) -> bool:
    """Learn the host's key and keep it only when the mail told its fingerprint; false when nobody answered."""
    probe = [*command[:-1], "-o", "StrictHostKeyChecking=accept-new", command[-1], "true"]
    answer = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if not known_hosts.exists() or not known_hosts.read_text():
        print(answer.stderr.strip(), file=sys.stderr)
        return False
    shown = subprocess.run(["ssh-keygen", "-l", "-f", known_hosts], capture_output=True, text=True, check=True).stdout
    fingerprints = re.findall(r"SHA256:[A-Za-z0-9+/]+", shown)
    if not fingerprints or any(fingerprint not in mail.text for fingerprint in fingerprints):
        raise SystemExit(f"The host shows {fingerprints}, which the mail does not name: not logging in.")
    return True


def main(argv: list[str] | None = None) -> int:
    """Log in, or run one command; the exit code is ssh's, 255 when the host could not be reached."""
    parser = argparse.ArgumentParser(prog="python -m lab.analyst", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=("mail", "analyst", "stranger", "controller"), default="mail")
    parser.add_argument("incident")
    parser.add_argument("command", nargs="*")
    options = parser.parse_args(argv)
    config = load()
    mail = ready_mail(config, options.incident)
    with tempfile.TemporaryDirectory() as folder:
        known_hosts = Path(folder) / "known_hosts"
        command = login(config, mail, options.source, known_hosts)
        if not trust(command, mail, known_hosts):
            return 255
        work = ["--", *options.command] if options.command else []
        return subprocess.run([*command, *work], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
