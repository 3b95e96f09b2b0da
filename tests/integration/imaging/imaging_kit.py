# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests on imaging hosts share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import Manifest

from lab import audit, seed
from lab.config import ACCOUNT, LabConfig
from tests.kit import CHECKOUT, run, tool_environment
from tests.unit.lab.ebs_kit import block, linear, put

BUCKET, HOME = f"dfir-artifacts-{ACCOUNT}", "eu-west-1"
REQUEST = yaml.safe_load((CHECKOUT / "examples" / "image_snapshot.yml").read_text())


def until(ask: Callable[[], Any], seconds: float, said: Callable[[], str] = str) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ask():
            return found
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds:.0f} s: {said()}")


class Site:
    """The lab with its imaging hosts."""

    def __init__(self, lab: LabConfig, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.s3 = audit.client(lab, "s3", HOME)
        self.instances: dict[str, str] = {}

    def snapshots(self, count: int, blocks: int = 150) -> list[str]:
        """Completed snapshots, each with data of its own."""
        ebs, ec2 = seed.client(self.lab, "ebs"), seed.client(self.lab, "ec2")
        found = []
        for number in range(count):
            content = {index: block(index * 100 + number) for index in range(blocks)}
            name = ebs.start_snapshot(VolumeSize=1, ClientToken=str(uuid.uuid4()))["SnapshotId"]
            for index, data in content.items():
                put(ebs, name, index, data)
            ebs.complete_snapshot(SnapshotId=name, ChangedBlocksCount=blocks, **linear(content))
            found.append(str(name))
        until(lambda: all(item["State"] == "completed"
                          for item in ec2.describe_snapshots(SnapshotIds=found)["Snapshots"]), 60)
        return found

    def quotas(self, **settings: Any) -> None:
        """Set what EBS direct lets through."""
        words = [f"{name}={value}" for name, value in settings.items()]
        done = run(sys.executable, "-m", "lab", "ebs", *words)
        assert done.returncode == 0, done.stdout

    def command(self, folder: Path, playbook: str, *options: str, operator: dict[str, Any] | None = None,
                hosts: dict[str, Any] | None = None, **fields: Any) -> list[str]:
        """The command that asks for images; `operator` and `hosts` are laid over the lab's inventory."""
        (folder / "request.json").write_text(json.dumps({**REQUEST, "aws_snapshot_region": HOME, **fields}))
        (folder / "operator.yml").write_text(json.dumps({
            "all": {"hosts": {"localhost": operator or {}}},
            "imaging_hosts": {"hosts": {}, "vars": hosts or {}}}))
        return ["ansible-playbook", "-i", "inventories/lab", "-i", f"{self.lab.state}/imaging/hosts.yml", "-i",
                str(folder / "operator.yml"), f"playbooks/{playbook}.yml", "-e", f"@{folder}/request.json", *options]

    def ask(self, folder: Path, playbook: str, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return run(*self.command(folder, playbook, *options, **more), log=folder / "output", timeout=500)

    def start(self, folder: Path, playbook: str, *options: str, **more: Any) -> subprocess.Popen[bytes]:
        """Run it beside the test, in a process group of its own, as a platform does."""
        with (folder / "output").open("w") as file:
            return subprocess.Popen(self.command(folder, playbook, *options, **more), cwd=CHECKOUT, stdout=file,
                                    stderr=file, env=tool_environment(), start_new_session=True)

    def keys(self, prefix: str) -> list[str]:
        """What lies in the bucket."""
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def claim(self, incident: str, snapshot: str) -> dict[str, Any]:
        """The claim on a snapshot; empty where there is none."""
        key = f"claims/{incident}/{snapshot}.json"
        if key not in self.keys(key):
            return {}
        found: dict[str, Any] = json.loads(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        return found

    def manifest(self, folder: Path, incident: str, snapshot: str) -> Manifest:
        """The manifest of a finished image, checked."""
        path = folder / f"{snapshot}.manifest"
        self.s3.download_file(BUCKET, f"{incident}/{snapshot}/image/manifest", str(path))
        return Manifest(path)


def workers(name: str) -> list[int]:
    """Processes of a module on the lab's hosts, as their machine sees them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            inside = (entry / "ns/pid").readlink() != Path("/proc/self/ns/pid").readlink()
        except OSError:
            continue
        if inside and name.encode() in command:
            found.append(int(entry.name))
    return found


def running(group: int) -> bool:
    """Whether a process group has anybody left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
