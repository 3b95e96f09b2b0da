# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the flow do on a request's host, as its analyst and as the root that an attacker may have become."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.flow.flow_kit import BUCKET, Request, client, instances, until
from tests.kit import CHECKOUT, run


def host(request: Request) -> dict[str, Any]:
    """The request's one and only instance."""
    [found] = instances(request.lab, request.id)
    return found


def artifacts(request: Request) -> dict[str, bytes]:
    """What lies below the request's prefix, by the rest of its key."""
    s3, prefix = client(request.lab, "s3"), request.record["request"]["artifact_prefix"]
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]
    return {key.removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def ask_host(request: Request, command: str) -> tuple[int, str]:
    """What a command of the analyst's says on the host, over a login with what the ready mail says."""
    done = run(sys.executable, "-m", "lab.analyst", request.incident, "--", command)
    return done.returncode, "".join(line for line in done.stdout.splitlines(keepends=True)
                                    if not line.startswith("Warning: Permanently added"))


def on_host(request: Request, command: str) -> str:
    """The same for a command that must succeed."""
    code, text = ask_host(request, command)
    assert code == 0, (command, text)
    return text


def as_root(request: Request, script: str) -> str:
    """What a script says that root runs on the host, also before its analyst is let in; it must succeed."""
    lab = request.lab
    relay = f"{sys.executable} -I {CHECKOUT}/lab/network/relay_client.py {lab.relay('controller')} %h %p"
    options = ("IdentitiesOnly=yes", "BatchMode=yes", "LogLevel=ERROR", "StrictHostKeyChecking=no",
               "UserKnownHostsFile=/dev/null", f"ProxyCommand={relay}")
    done = run("ssh", "-i", str(lab.keys / "controller"), *(word for option in options for word in ("-o", option)),
               f"dfir@{host(request)['PrivateIpAddress']}", "sudo sh -s <<'EOF'\n" + script + "\nEOF")
    assert done.returncode == 0, (script, done.stdout)
    return done.stdout


def end_session(request: Request) -> None:
    """End the analyst's session; returns when the host has gone."""
    on_host(request, "dfir-end")
    until(lambda: host(request)["State"]["Name"] == "terminated", "the end of the host")


def ended(request: Request) -> None:
    """End the session, and have the same request bring itself to its end: nothing of it is left."""
    end_session(request)
    last = request.run()
    assert last.code == 0, last.text[-3000:]
    assert request.exists() == set() and request.record["outcome"] == "ended"


def dirty_ext4(folder: Path) -> bytes:
    """A file system whose journal holds a block that the file system lacks."""
    image, block, words = folder / "ext4.img", folder / "block", folder / "words"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    block.write_bytes(b"e" * 4096)
    words.write_text(f"jo\njw -b 3000 {block}\njc\n")
    for command in (["mkfs.ext4", "-q", "-b", "4096", image], ["debugfs", "-w", "-f", words, image]):
        subprocess.run(command, check=True, capture_output=True)
    return image.read_bytes()
