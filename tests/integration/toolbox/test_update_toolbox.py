# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/update_toolbox.yml, really run by podman: built on the tools of the lab's own image, so that only rules and
the project's own code are new, proven by those tools, and published into a bucket with the rights of docs/iam."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.config import ACCOUNT
from lab.content.toolbox import ensure_toolbox_image
from tests.kit import CHECKOUT, run
from tests.unit.lab.aws_kit import REGION, Kit

CACHE = Path("/var/cache/dfir-aws")
BUCKET = f"dfir-artifacts-{ACCOUNT}"
# What works on a machine that is a container itself, as the lab builds its image, too.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
BASE = "localhost/tools:base"
PACKAGE = "/opt/dfir/lib/python3.11/site-packages/dfir_forensics"
# The long part of the real one, tools from Debian and PyPI, is in the base already.
CONTAINERFILE = f"""
ARG BASE
FROM ${{BASE}}
COPY roles/toolbox/files/image/rules /opt/dfir/share/dfir/rules
COPY plugins/module_utils/forensics {PACKAGE}
ARG VERSION
LABEL org.opencontainers.image.version="${{VERSION}}"
"""
RULE = 'rule team_marker {{ meta: severity = "high" strings: $a = "{0}" condition: $a }}\n'


@dataclass
class Site:
    """A team's site: an account, storage for podman, rules, and the playbook's settings."""

    kit: Kit
    folder: Path
    podman: list[str]
    keys: tuple[str, str]
    settings: dict[str, Any] = field(default_factory=dict)

    def update(self, *options: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run the playbook."""
        inventory = self.folder / "site.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"localhost": self.settings | changes}}}))
        return run("ansible-playbook", "-i", "inventories/lab", "-i", str(inventory), "playbooks/update_toolbox.yml",
                   *options)

    def objects(self) -> dict[str, int]:
        found = self.kit.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {item["Key"]: item["Size"] for item in found}

    def read(self, key: str) -> bytes:
        return bytes(self.kit.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def descriptors(self) -> list[dict[str, Any]]:
        return [json.loads(self.read(key)) for key in sorted(self.objects())
                if key.endswith(".json") and not key.endswith(".cdx.json")]


def document(name: str) -> str:
    text = (CHECKOUT / "docs/iam" / name).read_text()
    for placeholder, value in (("ACCOUNT_ID", ACCOUNT), ("ARTIFACT_BUCKET", BUCKET), ("ANALYSIS_REGION", REGION)):
        text = text.replace(placeholder, value)
    return json.dumps(json.loads(text))


def flat(text: str) -> str:
    return " ".join(text.replace("''", "'").split())


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """podman with a storage of its own, in which the tools are."""
    if os.geteuid() != 0 or not shutil.which("podman"):
        pytest.skip("needs root and podman")
    folder = tmp_path_factory.mktemp("podman")
    run_folder = Path("/run") / f"dfir-aws-test-{os.getpid()}"
    command = ["podman", "--root", str(folder / "storage"), "--runroot", str(run_folder), "--runtime", "runc",
               "--cgroup-manager", "cgroupfs"]
    layouts = sorted(CACHE.glob("toolbox-image-*/layout")) or [ensure_toolbox_image(CACHE)]
    pulled = subprocess.run([*command, "pull", "--quiet", f"oci:{layouts[0]}"], check=True, capture_output=True,
                            text=True)
    subprocess.run([*command, "tag", pulled.stdout.strip(), BASE], check=True)
    yield command
    subprocess.run([*command, "rmi", "--all", "--force"], check=False, capture_output=True)
    shutil.rmtree(run_folder, ignore_errors=True)
    shutil.rmtree(folder / "storage", ignore_errors=True)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("aws"))
    s3 = kit.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=document("artifact-bucket-policy.json"))
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def site(kit: Kit, podman: list[str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    iam = kit.client("iam")
    keys = kit.user("toolbox")
    iam.put_user_policy(UserName="toolbox", PolicyName="p", PolicyDocument=document("toolbox-policy.json"))
    (folder / "Containerfile").write_text(CONTAINERFILE)
    (folder / "rules/deep").mkdir(parents=True)
    (folder / "rules/README.md").write_text("Our rules. This is none.\n")
    (folder / "rules/deep/marker.yar").write_text(RULE.format("team-marker-0001"))
    (folder / "own.ndb").write_text("Team.Marker:0:*:7465616d2d6d61726b6572\n")
    return Site(kit, folder, podman, keys, {
        "dfir_aws_module_defaults": {"endpoint_url": kit.endpoint, "access_key": keys[0], "secret_key": keys[1]},
        "dfir_aws_environment": {"AWS_EC2_METADATA_DISABLED": "true"},
        "dfir_aws_artifact_bucket": BUCKET, "dfir_aws_artifact_bucket_region": REGION,
        "dfir_aws_toolbox_base": BASE, "toolbox_image_containerfile": str(folder / "Containerfile"),
        "toolbox_image_podman": podman, "toolbox_image_run_options": LIMITS,
        "toolbox_image_build_options": ["--isolation", "chroot", *LIMITS],
        "dfir_aws_toolbox_rules": [
            {"kind": "yara", "name": "team", "path": str(folder / "rules"), "version": "2026.11", "date": "2026-11-20"},
            {"kind": "clamav", "name": "team", "path": str(folder / "own.ndb")}]})


def test_an_image_is_built_proven_published_and_not_made_twice(site: Site) -> None:
    before = site.update("--check")
    assert before.returncode == 0, before.stdout
    assert "Would build analyst-tools" in flat(before.stdout) and site.objects() == {}

    first = site.update()
    assert first.returncode == 0, first.stdout[-5000:]
    [descriptor] = site.descriptors()
    version = descriptor["image"]
    assert sorted(site.objects()) == sorted([
        f"toolbox/analyst-tools-{version}.tar", f"toolbox/analyst-tools-{version}.cdx.json",
        f"toolbox/analyst-tools-{version}-{descriptor['content']}.json"])
    archive = site.read(descriptor["archive"])
    assert descriptor["checksum"] == f"sha256:{hashlib.sha256(archive).hexdigest()}"
    assert descriptor["size"] == len(archive)
    for line in (f"dfir_aws_toolbox_image: localhost/analyst-tools:{version}",
                 f"dfir_aws_toolbox_archive: {descriptor['archive']}",
                 f"dfir_aws_toolbox_archive_checksum: {descriptor['checksum']}"):
        assert line in flat(first.stdout), first.stdout[-3000:]
    assert "no scanner for known vulnerabilities (grype, trivy) is on the build host: none ran" in flat(first.stdout)
    what_is_said_of_it(site, descriptor)
    what_is_in_the_archive(site, descriptor, archive)

    # Nothing has changed: nothing is done. A rule has: there is something to do again.
    for again in (site.update(), site.update("--check")):
        assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
        assert f"Nothing to build: analyst-tools {version} has this very content" in flat(again.stdout)
    assert len(site.descriptors()) == 1
    (site.folder / "rules/deep/marker.yar").write_text(RULE.format("team-marker-0002"))
    changed = site.update("--check")
    assert changed.returncode == 0 and "Would build analyst-tools" in flat(changed.stdout)
    assert len(site.descriptors()) == 1


def what_is_said_of_it(site: Site, descriptor: dict[str, Any]) -> None:
    """Tools, rules with their ages, what is installed, and that nothing was found in it."""
    assert {tool["name"] for tool in descriptor["tools"] if tool["ok"]} >= {"plaso", "sleuthkit", "yara", "clamav"}
    sets = {(one["kind"], one["name"]): one for one in descriptor["sets"]}
    assert sets[("yara", "team")] == {"kind": "yara", "name": "team", "version": "2026.11", "files": 1,
                                      "date": "2026-11-20T00:00:00Z"}
    assert sets[("clamav", "team")]["files"] == 1 and len(sets[("clamav", "team")]["version"]) == 12
    assert ("yara", "dfir") in sets and ("clamav", "dfir") in sets
    assert descriptor["own_scan"]["hits"] == [] and descriptor["own_scan"]["files"] > 5000
    assert descriptor["vulnerabilities"]["scanner"] is None
    bill = json.loads(site.read(descriptor["materials"]))
    names = {item["purl"].partition("@")[0] for item in bill["components"]}
    assert {"pkg:deb/debian/sleuthkit", "pkg:deb/debian/yara", "pkg:pypi/plaso", "pkg:pypi/dissect-target"} <= names
    assert bill["metadata"]["component"]["version"] == descriptor["image"]


def what_is_in_the_archive(site: Site, descriptor: dict[str, Any], archive: bytes) -> None:
    """Hosts load it under the name that the settings have, and its tools work there with the team's rules."""
    path = site.folder / "archive.tar"
    path.write_bytes(archive)
    with tarfile.open(path) as tar:
        index = json.loads(tar.extractfile("index.json").read())  # type: ignore[union-attr]
    assert index["manifests"][0]["digest"] == descriptor["digest"]
    subprocess.run([*site.podman, "rmi", "--force", descriptor["reference"]], check=True, capture_output=True)
    subprocess.run([*site.podman, "load", "--quiet", "--input", path], check=True, capture_output=True)
    shown = subprocess.run([*site.podman, "run", "--rm", "--network", "none", *LIMITS, descriptor["reference"],
                            "validate"], check=True, capture_output=True, text=True).stdout
    said = json.loads(shown)
    assert said["ok"] and said["content"]["image"] == descriptor["image"]


BROKEN_TOOL = CONTAINERFILE + "RUN echo nothing > /opt/dfir/share/dfir/samples/hit.txt\n"


@pytest.mark.parametrize(("what", "sentence"), [
    ("rule", "cannot be used, and nothing was published: team-broken.yar: "),
    ("signature", "team-own.ndb: Error: Problem parsing database at line 1."),
    ("tool", "The image is not fit for use, and was not published: "),
    ("missing", "The yara rules 'team' are not there: /nonexistent."),
    ("base", "could not be built from localhost/nothing:1; nothing was published: "),
    ("infected", "in the image itself, and nothing was published: /opt/planted."),
    ("scanner", "The scanner trivy is not on the build host, and nothing was published."),
])
def test_what_is_not_good_is_one_sentence_and_not_published(site: Site, tmp_path: Path, what: str,
                                                            sentence: str) -> None:
    before = site.objects()
    changes: dict[str, Any] = {"toolbox_image_name": f"tools-{what}"}
    if what in ("rule", "signature"):
        name, text = {"rule": ("broken.yar", "rule broken { condition: nothing }\n"),
                      "signature": ("own.ndb", "Team.Broken:0:*:zz\n")}[what]
        (tmp_path / name).write_text(text)
        kind = "yara" if what == "rule" else "clamav"
        changes["dfir_aws_toolbox_rules"] = [{"kind": kind, "name": "team", "path": str(tmp_path / name)}]
    elif what == "missing":
        changes["dfir_aws_toolbox_rules"] = [{"kind": "yara", "name": "team", "path": "/nonexistent"}]
    elif what == "base":
        changes["dfir_aws_toolbox_base"] = "localhost/nothing:1"
    elif what == "scanner":
        changes["toolbox_image_scanner"] = "trivy"
    else:
        more = BROKEN_TOOL if what == "tool" else (
            f"{CONTAINERFILE}RUN cp /opt/dfir/share/dfir/samples/hit.txt /opt/planted\n")
        (tmp_path / "Containerfile").write_text(more)
        changes["toolbox_image_containerfile"] = str(tmp_path / "Containerfile")
    done = site.update(**changes)
    assert done.returncode != 0 and sentence in flat(done.stdout), done.stdout[-4000:]
    assert "Traceback" not in done.stdout and site.objects() == before


GRYPE = """#!/bin/sh
[ -s "${1#sbom:}" ] && [ "$2 $3" = "-o json" ] || exit 9
echo '{"matches": [{"vulnerability": {"id": "CVE-1", "severity": "High"}},
                   {"vulnerability": {"severity": "Negligible"}}]}'
"""


def test_a_scanner_on_the_build_host_is_asked_and_can_keep_an_image_back(site: Site, tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that prints a report of grype's form stands in for it: no database of vulnerabilities is at hand."""
    (tmp_path / "grype").write_text(GRYPE)
    (tmp_path / "grype").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = site.objects()
    refused = site.update(toolbox_image_name="scanned", toolbox_image_refuse_severity="high")
    words = "of the severity high or above, and was not published (grype: 1 high, 1 negligible)"
    assert refused.returncode != 0 and words in flat(refused.stdout), refused.stdout[-3000:]
    assert site.objects() == before
    let_through = site.update(toolbox_image_name="scanned", toolbox_image_refuse_severity="critical")
    assert let_through.returncode == 0, let_through.stdout[-3000:]
    found = [item for item in site.descriptors() if item["name"] == "scanned"]
    assert found[0]["vulnerabilities"]["counts"] == {"high": 1, "negligible": 1}


REGISTRY = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def test_an_image_is_pushed_to_a_registry_too(site: Site, tmp_path: Path) -> None:
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "registry.yml").write_text(REGISTRY.format(folder=tmp_path / "registry", port=port))
    with subprocess.Popen(["docker-registry", "serve", tmp_path / "registry.yml"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as server:
        try:
            done = site.update(toolbox_image_name="pushed", dfir_aws_toolbox_registry=f"127.0.0.1:{port}/dfir",
                               dfir_aws_toolbox_registry_insecure=True)
            assert done.returncode == 0, done.stdout[-3000:]
            [descriptor] = [item for item in site.descriptors() if item["name"] == "pushed"]
            reference = descriptor["reference"]
            assert reference == f"127.0.0.1:{port}/dfir/pushed:{descriptor['image']}"
            assert f"dfir_aws_toolbox_image: {reference}" in flat(done.stdout)
            subprocess.run([*site.podman, "rmi", "--force", f"localhost/pushed:{descriptor['image']}"], check=True,
                           capture_output=True)
            subprocess.run([*site.podman, "pull", "--quiet", "--tls-verify=false", reference], check=True,
                           capture_output=True)
        finally:
            server.terminate()
