# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: one request on the running lab, watched from outside.

It runs the playbook as a user would, then holds what came out against what must be true: the findings against the
disk's answer key, the mails against what happened, and the account against what it was before. A second demo on the
same lab raises `attempt`.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from . import audit
from .config import ACCOUNT, CHECKOUT, LabConfig, load
from .evidence import answer_key
from .evidence.compare import compare, load_results
from .evidence.image import ensure_image
from .mail.reader import Mail, list_mails

BUCKET = f"dfir-artifacts-{ACCOUNT}"
BUCKET_REGION = "eu-west-1"
EXAMPLE = CHECKOUT / "examples" / "analyze_request.yml"


class Wrong(Exception):
    """One sentence: what the demo expected and did not see."""


def say(text: str = "") -> None:
    """A line of the demo's own."""
    print(f"demo: {text}" if text else "", flush=True)


def records(config: LabConfig) -> dict[str, dict[str, Any]]:
    """All requests' records in the bucket, by key."""
    s3 = audit.client(config, "s3", BUCKET_REGION)
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="requests/", Delimiter="/").get("Contents", [])
    return {item["Key"]: json.loads(s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()) for item in listed}


def next_attempt(config: LabConfig, snapshot: str, incident: str) -> int:
    """One more than the highest attempt that this lab has seen of the example's request."""
    requests = [record["request"] for record in records(config).values()]
    seen = [request["attempt"] for request in requests
            if request["incident"] == incident and snapshot in [entry["id"] for entry in request["snapshots"]]]
    return max(seen, default=0) + 1


def run_playbook(attempt: int) -> None:
    """What the README shows, from a shell without any AWS variable."""
    command = ["ansible-playbook", "-i", "inventories/lab", "playbooks/analyze_request.yml", "-e", f"@{EXAMPLE}"]
    if attempt > 1:
        command += ["-e", f"attempt={attempt}"]
    shell = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    shell["PATH"] = f"{Path(sys.executable).parent}:{shell['PATH']}"
    if sys.stdout.isatty():
        shell["ANSIBLE_FORCE_COLOR"] = "1"
    say("$ " + " ".join(command).replace(f"{CHECKOUT}/", ""))
    done = subprocess.run(command, cwd=CHECKOUT, env=shell, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Wrong(f"the playbook ended with exit code {done.returncode}; its last lines say why")


def download(config: LabConfig, prefix: str, folder: Path) -> list[str]:
    """Fetch all artifacts of a request."""
    s3 = audit.client(config, "s3", BUCKET_REGION)
    names = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for item in page.get("Contents", []):
            name = item["Key"].removeprefix(prefix)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(BUCKET, item["Key"], str(target))
            names.append(name)
    return sorted(names)


def check_sums(folder: Path) -> int:
    """Hash every artifact again and compare with `sha256sums.txt`; how many agreed."""
    lines = (folder / "sha256sums.txt").read_text().splitlines()
    for line in lines:
        digest, name = line.split("  ", 1)
        with (folder / name).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            raise Wrong(f"{name} in the bucket does not have the SHA-256 that sha256sums.txt names")
    if not lines:
        raise Wrong("sha256sums.txt is empty")
    return len(lines)


def check_mails(mails: list[Mail], record: dict[str, Any], marker: dict[str, Any]) -> None:
    """The ready mail must lead to the host that was, the done mail to the artifacts that are."""
    request = record["request"]
    about = [mail for mail in mails if request["incident"] in mail.subject]
    by_state = {state: [mail for mail in about if state in mail.subject.lower()] for state in ("ready", "complete")}
    for state, found in by_state.items():
        if len(found) != 1:
            raise Wrong(f"{len(found)} '{state}' mails arrived instead of one: {[mail.subject for mail in mails]}")
        recipients = found[0].recipients
        if request["analyst"]["email"] not in recipients:
            raise Wrong(f"the '{state}' mail went to {recipients} and not to the analyst")
    host = step(record, "analysis_host")
    for fact in (host["instance_id"], host["private_ip"], host["volumes"][0]["volume_id"], *host["host_fingerprints"]):
        if fact not in by_state["ready"][0].text:
            raise Wrong(f"the ready mail does not say {fact}")
    place = f"s3://{request['artifact_bucket']}/{request['artifact_prefix']}"
    counts = [f"{number}  {name.removeprefix('findings_')}" for name, number in marker["counts"].items()
              if name.startswith("findings_") and number]
    for fact in (place, *counts):
        if fact not in by_state["complete"][0].text:
            raise Wrong(f"the done mail does not say {fact}")
    for state in ("ready", "complete"):
        mail = by_state[state][0]
        print(f"\n--- mail to {', '.join(mail.recipients)} " + "-" * 30)
        print(f"Subject: {mail.subject}\n\n{mail.text.strip()}\n")


def check_findings(key: Path, folder: Path) -> None:
    """Hold what the analysis found against what was planted on the disk."""
    result = compare(answer_key.load(key), load_results(folder))
    print(result.table())
    if not result.good:
        raise Wrong("the findings do not match the answer key")


def check_report(folder: Path, mail: Mail) -> None:
    """The report must tell of what was found, and the done mail of the report."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    found = json.loads((folder / "report.json").read_text())["findings"]
    untold = [entry["path"] for entry in found[:20] if html.escape(entry["path"]) not in page]
    if not found or untold:
        raise Wrong(f"the report does not tell of {', '.join(untold) or 'any finding'}")
    if hashlib.sha256(page.encode()).hexdigest() not in mail.text:
        raise Wrong("the done mail does not name the report's SHA-256")
    say(f"{len(found)} findings in report.html, {len(page) >> 10} KiB")


def check_account(config: LabConfig, before: set[audit.Thing], request: dict[str, Any]) -> None:
    """Nothing may be new but the artifacts, the record and a kept copy."""
    if not audit.report(before, audit.account(config), artifact_prefix=request["artifact_prefix"],
                        record_key=request["record_key"]):
        raise Wrong("the account is not as it was")


def step(record: dict[str, Any], name: str) -> dict[str, Any]:
    """The details of a step in the record."""
    for entry in reversed(record["steps"]):
        if entry["name"] == name:
            return dict(entry["details"])
    raise Wrong(f"the record does not tell of the step {name}")


def show_times(record: dict[str, Any], summary: dict[str, Any], total: float) -> None:
    """Where the time went: the steps of the flow, and the share in which forensic tools were at work."""
    say("where the time went")
    for entry in record["steps"]:
        if entry.get("started_at"):
            began, ended = (datetime.fromisoformat(entry[key].replace("Z", "+00:00"))
                            for key in ("started_at", "ended_at"))
            print(f"  {entry['name']:<16} {(ended - began).total_seconds():>5.0f} s")
    hours, minutes, seconds = step(record, "toolbox")["validation_took"].split(":")
    tools = float(summary["seconds"]) + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    print(f"  {'all':<16} {total:>5.0f} s, of which forensic tools at work {tools:.0f} s, "
          f"the flow itself {total - tools:.0f} s")


def watch(config: LabConfig) -> None:
    """Run the request and hold everything that came out against what must be true."""
    example = yaml.safe_load(EXAMPLE.read_text())
    evidence = ensure_image(config.cache)
    attempt = next_attempt(config, example["aws_snapshot_id"], example["incident"])
    before, known, mails = audit.account(config), set(records(config)), len(list_mails(config.mails))
    started = time.monotonic()
    run_playbook(attempt)
    total = time.monotonic() - started
    after = records(config)
    new = set(after) - known
    if len(new) != 1:
        raise Wrong(f"{len(new)} new records are in the bucket instead of one")
    key = new.pop()
    record = after[key]
    request = record["request"]
    folder = config.state / "demo" / request["request_id"]
    names = download(config, request["artifact_prefix"], folder)
    summary, marker = (json.loads((folder / name).read_text()) for name in ("summary.json", "complete.json"))
    checks: list[tuple[str, Callable[[], Any]]] = [
        ("mails", lambda: check_mails(list_mails(config.mails)[mails:], record, marker)),
        ("artifacts", lambda: say(f"{len(names)} artifacts, {check_sums(folder)} of them hashed again and equal")),
        ("findings", lambda: check_findings(evidence.answer_key, folder)),
        ("report", lambda: check_report(folder, list_mails(config.mails)[-1])),
        ("account", lambda: check_account(config, before, request)),
    ]
    for title, check in checks:
        say(title)
        check()
    show_times(record, summary, total)
    say(f"results are in {folder.relative_to(CHECKOUT) if folder.is_relative_to(CHECKOUT) else folder}")


def main() -> int:
    """Watch one request; the last line is `demo: ok`, or says what was wrong."""
    try:
        watch(load())
    except Wrong as wrong:
        say(f"FAILED: {wrong}")
        return 1
    say("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
