# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove the toolbox: every tool really runs on a known sample, and must say what is known to be true."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import content
from .console import tell
from .tools import SHARE, ToolError, run, script

SAMPLES = SHARE / "samples"
RULES = SHARE / "rules"
SIGNATURE = "DFIR_Toolbox_Test_Signature"


def _sleuthkit(work: Path) -> str:
    image = work / "sample.ext4"
    image.write_bytes(gzip.decompress((SAMPLES / "sample.ext4.gz").read_bytes()))
    listed = run(["fls", "-r", "-p", image]).decode()
    if "etc/known.txt" not in listed:
        raise ToolError("fls does not list the known file of the ext4 sample")
    deleted = re.search(r"\* (\d+):\tdropped\.sh", run(["fls", "-r", "-d", "-p", image]).decode())
    if not deleted:
        raise ToolError("fls does not list the deleted file of the ext4 sample")
    if run(["icat", "-r", image, deleted[1]]) != (SAMPLES / "dropped.sh").read_bytes():
        raise ToolError("icat does not recover the deleted file of the ext4 sample")
    return "listed a known and a deleted file, recovered the deleted one"


def _dissect(work: Path) -> str:
    from dissect.xfs import XFS

    data = gzip.decompress((SAMPLES / "sample.xfs.gz").read_bytes())
    if XFS(io.BytesIO(data)).get("/etc/known.txt").open().read() != (SAMPLES / "known.txt").read_bytes():
        raise ToolError("dissect does not read the known file of the XFS sample")
    return "read a known file from an XFS file system"


def _plaso(work: Path) -> str:
    storage = work / "sample.plaso"
    # One kind of parser and no workers: what is proven is that plaso reads, stores and ends.
    run([script("log2timeline"), "--status_view", "none", "--unattended", "-q", "--single_process", "--parsers", "text",
         "--hashers", "none", "--logfile", work / "sample.log.gz", "--storage_file", storage,
         "--temporary_directory", work, SAMPLES / "syslog"], timeout=120, cwd=work)
    with sqlite3.connect(f"file:{storage}?mode=ro", uri=True) as database:
        events = int(database.execute("SELECT COUNT(*) FROM event").fetchone()[0])
    expected = len((SAMPLES / "syslog").read_text().splitlines())
    if events < expected:
        raise ToolError(f"log2timeline stored {events} events from a log with {expected} lines")
    return f"stored {events} events from a known log"


def _yara(work: Path) -> str:
    rules = content.files_of(RULES / "yara", content.KINDS["yara"])
    if not rules:
        raise ToolError("the image holds no YARA rules")
    hit = run(["yara", "-w", *rules, SAMPLES / "hit.txt"]).decode().split()
    if SIGNATURE not in hit:
        raise ToolError("yara does not report the test signature")
    if run(["yara", "-w", *rules, SAMPLES / "known.txt"]):
        raise ToolError("yara reports a harmless file")
    return f"{len(rules)} rule files compile, the test signature is reported"


def _clamav(work: Path) -> str:
    said = run(["clamscan", "--no-summary", "--stdout", "-d", RULES / "clamav", SAMPLES / "hit.txt",
                SAMPLES / "known.txt"], ok=(1,)).decode()
    if not re.search(rf"hit\.txt: .*{SIGNATURE}.* FOUND", said) or "known.txt: OK" not in said:
        raise ToolError("clamscan does not tell the test signature from a harmless file")
    return "the test signature is reported, a harmless file is not"


def _ewf(work: Path) -> str:
    data = hashlib.sha256(b"dfir").digest() * 8192
    target = work / "sample"
    run(["ewfacquirestream", "-q", "-c", "empty-block", "-C", "sample", "-D", "sample", "-e", "dfir", "-E", "1",
         "-t", target, "-l", work / "ewf.log"], stdin=data)
    said = run(["ewfverify", "-q", f"{target}.E01"]).decode()
    if "SUCCESS" not in said:
        raise ToolError("ewfverify does not confirm an image that ewfacquirestream has just made")
    return "made an image and verified it"


def _boto3(work: Path) -> str:
    import boto3

    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106
    url = client.generate_presigned_url("put_object", Params={"Bucket": "b", "Key": "k"})
    if not url.startswith("https://"):
        raise ToolError("boto3 does not sign a request")
    return "signed a request"


CHECKS: dict[str, Callable[[Path], str]] = {
    "plaso": _plaso, "sleuthkit": _sleuthkit, "dissect": _dissect, "yara": _yara, "clamav": _clamav, "ewf-tools": _ewf,
    "boto3": _boto3,
}

_VERSION_COMMANDS: dict[str, list[str]] = {
    "sleuthkit": ["fls", "-V"], "yara": ["yara", "--version"], "clamav": ["clamscan", "--version"],
    "ewf-tools": ["ewfverify", "-V"], "e2fsprogs": ["debugfs", "-V"], "xfsprogs": ["xfs_db", "-V"],
}
_DISTRIBUTIONS = {"plaso": "plaso", "dissect": "dissect.target", "boto3": "boto3", "dfir_forensics": "dfir-aws"}


def version(tool: str) -> str:
    """The version that a tool itself gives; `unknown` when it gives none."""
    from importlib import metadata

    if tool in _DISTRIBUTIONS:
        try:
            return metadata.version(_DISTRIBUTIONS[tool])
        except metadata.PackageNotFoundError:
            return "unknown"
    import subprocess

    try:
        done = subprocess.run(_VERSION_COMMANDS[tool], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(rb"\d+(\.\d+)+|\d{8}", done.stdout)
    return found[0].decode() if found else "unknown"


def versions() -> dict[str, str]:
    """Versions of all tools in the image, by name."""
    return {tool: version(tool) for tool in (*_DISTRIBUTIONS, *_VERSION_COMMANDS)}


def check(tool: str) -> dict[str, Any]:
    """Run one tool on its sample; whatever goes wrong becomes the detail of a failed check."""
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="dfir-validate-") as folder:
            detail, ok = CHECKS[tool](Path(folder)), True
    except ToolError as error:
        detail, ok = str(error), False
    except Exception as error:  # a tool that is broken in an unforeseen way is still only a failed check
        detail, ok = f"{type(error).__name__}: {error}", False
    return {"name": tool, "version": version(tool), "ok": ok, "detail": detail,
            "seconds": round(time.monotonic() - started, 1)}


def validate() -> dict[str, Any]:
    """Check all tools: `{tools: [{name, version, ok, detail, seconds}], content, ok}`."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        tools = list(pool.map(check, CHECKS))
    return {"tools": tools, "content": content.describe(), "ok": all(tool["ok"] for tool in tools)}


def main() -> int:
    """Print the report as JSON; 1 when a tool does not work."""
    report = validate()
    tell(json.dumps(report, indent=1))
    return 0 if report["ok"] else 1
