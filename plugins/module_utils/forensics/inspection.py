# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What whoever builds the image wants to know of it before it is published, answered by the image itself: do its rules
compile, what is installed, does its own scanner find anything in it?"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import content
from .times import utc_now
from .tools import ToolError, environment, run

SHORT = 200
SCANNED = ("/bin", "/boot", "/etc", "/home", "/lib", "/lib64", "/opt", "/root", "/sbin", "/srv", "/usr", "/var")
# Our own samples are there to be found, and a signature may match the rules that look for the same thing.
OWN = ("share/dfir/samples/", "share/dfir/rules/")


def refused_rules() -> list[dict[str, str]]:
    """Files with rules or signatures that cannot be used: name and reason of each."""
    refused = []
    for kind, path in _rule_files():
        reason = _reason(kind, path)
        if reason:
            refused.append({"file": path.name, "reason": reason})
    return refused or _together([path for kind, path in _rule_files() if kind == "yara"])


def _together(paths: list[Path]) -> list[dict[str, str]]:
    """All YARA rules at once, as they are used: two files may have a rule of one name."""
    with tempfile.TemporaryDirectory(prefix="dfir-rules-") as folder:
        try:
            run(["yarac", "-w", *paths, Path(folder) / "compiled"])
        except ToolError as error:
            # What is named last is where it stopped.
            named = [path for path in paths if f"{path}(" in str(error)]
            reason = str(error)
            for path in paths:
                reason = reason.replace(f"{path}", path.name)
            return [{"file": named[-1].name if named else "all YARA rules", "reason": reason[:SHORT]}]
    return []


def _rule_files() -> Iterator[tuple[str, Path]]:
    for kind, patterns in content.KINDS.items():
        folder = content.RULES / kind
        used = content.files_of(folder, patterns)
        yield from ((kind, path) for path in used)
        if folder.is_dir():
            yield from (("unknown", path) for path in sorted(folder.iterdir()) if path not in used)
    for path in content.files_of(content.RULES / "clamav-vendor", ("*",)):
        yield "vendor", path


def _reason(kind: str, path: Path) -> str:
    """Why a file cannot be used; empty when it can. Each is tried alone, so that the right one is named."""
    with tempfile.TemporaryDirectory(prefix="dfir-rules-") as folder:
        blank = Path(folder) / "blank"
        blank.write_bytes(b"\n")
        try:
            if kind == "yara":
                run(["yarac", "-w", path, Path(folder) / "compiled"])
            elif kind == "clamav":
                said = _said(["clamscan", "--no-summary", "--stdout", "-d", path, blank])
                # It goes on without what it cannot read, and ends well.
                trouble = re.search(r"(?:Malformed|Problem parsing|Can't load|Error)[^\n]*", said)
                if trouble or "OK" not in said:
                    return (trouble[0] if trouble else "clamscan does not take it, or it hits a blank line")[:SHORT]
            elif kind == "vendor":
                if "Verification OK" not in _said(["sigtool", "--info", path]):
                    return "sigtool does not confirm the vendor's signature"
            else:
                return "it is no kind of rule that is used"
        except ToolError as error:
            return str(error).replace(f"{path}", path.name)[:SHORT]
    return ""


def _said(command: list[str | Path]) -> str:
    """What a program prints, errors included, whatever it ends with."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
                          env=environment(), stdin=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "replace")


def bill_of_materials() -> dict[str, Any]:
    """What is installed, as CycloneDX 1.5 writes it: Debian's packages and Python's distributions."""
    from importlib import metadata

    system = _os_release()
    debian = f"{system.get('ID', 'debian')}-{system.get('VERSION_ID', '')}".rstrip("-")
    components = []
    fields = "${binary:Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\n"
    for line in run(["dpkg-query", "-W", "-f", fields]).decode().splitlines():
        name, version, architecture, source = line.split("\t")
        name = name.partition(":")[0]
        purl = (f"pkg:deb/{system.get('ID', 'debian')}/{_quoted(name)}@{_quoted(version)}"
                f"?arch={architecture}&distro={debian}")
        components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
                           "properties": [{"name": "source package", "value": source}]})
    found = {(str(item.metadata["Name"]), item.version) for item in metadata.distributions() if item.metadata["Name"]}
    for name, version in sorted(found, key=lambda pair: pair[0].lower()):
        purl = f"pkg:pypi/{_quoted(re.sub(r'[-_.]+', '-', name).lower())}@{_quoted(version)}"
        components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    image = content.describe()["image"] or "unknown"
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"timestamp": utc_now(), "component": {
            "type": "container", "bom-ref": "image", "name": "analyst-tools", "version": image}},
        "components": list({item["purl"]: item for item in components}.values()),
    }


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines())
    return {name: value.strip('"') for name, separator, value in pairs if separator}


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="-._~")


def own_scan(folders: tuple[str, ...] = SCANNED) -> dict[str, Any]:
    """What the image's own scanner and signatures find in the image's own files, links not followed."""
    databases = [content.RULES / "clamav",
                 *(folder for folder in (content.RULES / "clamav-vendor", content.VENDOR_DATABASE)
                   if content.files_of(folder, content.VENDOR_FILES))]
    files, hits = 0, []
    existing = [folder for folder in folders if Path(folder).is_dir() and not Path(folder).is_symlink()]
    for database in databases:
        said = run(["clamscan", "--recursive", "--stdout", "--infected", "--follow-dir-symlinks=0",
                    "--follow-file-symlinks=0", "-d", database, *existing], ok=(0, 1), timeout=3600
                   ).decode("utf-8", "replace")
        counted = re.search(r"^Scanned files: (\d+)$", said, re.MULTILINE)
        files = max(files, int(counted[1]) if counted else 0)
        for path, signature in re.findall(r"^(.*): (\S+) FOUND$", said, re.MULTILINE):
            if not any(own in path for own in OWN):
                hits.append({"path": path, "signature": signature})
    if not files:
        raise ToolError("clamscan looked at no file of the image")
    return {"files": files, "hits": hits, "vendor_database": len(databases) > 1}


def inspect() -> dict[str, Any]:
    """`{content, refused, versions, materials, own_scan}`; the scan is left out where rules are refused."""
    from .validate import versions

    refused = refused_rules()
    return {"content": content.describe(), "refused": refused, "versions": versions(),
            "materials": bill_of_materials(), "own_scan": None if refused else own_scan()}
