# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image of tools is built from, how it is built, and how it gets into the bucket once."""

from __future__ import annotations

import importlib
import json
import tarfile
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.filter.toolbox import (
    context_rules,
    days_since,
    podman_build,
    rule_sources,
    too_severe,
    toolbox_settings,
    vulnerabilities,
)
from ansible_collections.dfir.aws.plugins.module_utils.forensics import content
from ansible_collections.dfir.aws.plugins.module_utils.toolbox_context import Context, ContextRefused, Source

CHECKOUT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 27, 10, 15, 0, tzinfo=timezone.utc)
Run = Callable[..., dict[str, Any]]


def rules(folder: Path, **more: Any) -> Source:
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "deep" / "a b.yar").write_text("rule a { condition: false }\n")
    (folder / "README.md").write_text("none\n")
    return Source.load({"kind": "yara", "name": "team", "path": folder, **more})


def test_the_hash_changes_with_whatever_makes_another_image_and_with_nothing_else(tmp_path: Path) -> None:
    base = {"BASE": "debian:12"}

    def hashed(source: Source | None = None, inputs: dict[str, str] = base, own: Path | None = None) -> str:
        return Context(CHECKOUT, [source] if source else [], own).content(inputs)

    plain, team = hashed(), hashed(rules(tmp_path / "rules"))
    assert len(plain) == 16 and plain == hashed() and team != plain
    assert team == hashed(rules(tmp_path / "rules", date="2020-01-01")), "a date alone makes no other image"
    assert hashed(rules(tmp_path / "rules", version="2")) != team
    (tmp_path / "rules/deep/a b.yar").write_text("rule b { condition: false }\n")
    assert hashed(Source.load({"kind": "yara", "name": "team", "path": tmp_path / "rules"})) != team
    assert hashed(inputs={"BASE": "debian:13"}) != plain
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    assert hashed(own=tmp_path / "Containerfile") != plain


def test_the_context_holds_all_that_the_containerfile_copies_and_a_list_that_the_image_reads(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "daily.cvd").write_bytes(b"ClamAV-VDB:07 Nov 2026 03-26 -0500:27480:1:90:x:y:z:1".ljust(512))
    context = Context(CHECKOUT, [rules(tmp_path / "rules", version="2026.11", date="2026-11-20"),
                                 Source.load({"kind": "clamav", "name": "daily", "path": tmp_path / "daily.cvd"})])
    image, built = context.version(NOW)
    assert image.endswith("-20261127.101500") and built == "2026-11-27T10:15:00Z"
    context.write(tmp_path / "context.tar", image, built)
    with tarfile.open(tmp_path / "context.tar") as archive:
        archive.extractall(tmp_path / "context", filter="data")
    copied = [line.split()[1:-1] for line in (tmp_path / "context/roles/toolbox/files/image/Containerfile")
              .read_text().splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert all((tmp_path / "context" / name).exists() for names in copied for name in names) and copied
    assert not list((tmp_path / "context").rglob("__pycache__"))
    # What the image says of itself is made by the code that runs in it.
    monkeypatch.setattr(content, "RULES", tmp_path / "context/roles/toolbox/files/image/rules")
    monkeypatch.setattr(content, "VENDOR_DATABASE", tmp_path / "none")
    said = content.describe()
    assert said["image"] == image and said["built"] == built
    sets = {(one["kind"], one["name"]): one for one in said["sets"]}
    assert sets[("yara", "team")] == {"kind": "yara", "name": "team", "version": "2026.11", "files": 1,
                                      "date": "2026-11-20T00:00:00Z"}
    assert sets[("clamav", "daily")]["version"] == "27480" and ("yara", "dfir") in sets
    assert (content.RULES / "yara/team-deep-a-b.yar").is_file()


@pytest.mark.parametrize(("given", "words"), [
    ({"name": "dfir"}, "need another name"), ({"name": "a b"}, "need another name"),
    ({"version": "1; rm"}, "version that is no plain word"), ({"date": "yesterday"}, "date that is none"),
    ({"path": "/nonexistent"}, "are not there"), ({"kind": "clamav"}, "hold no file that is used")])
def test_rules_that_cannot_be_used_are_refused_in_one_sentence(tmp_path: Path, given: dict[str, str],
                                                               words: str) -> None:
    rules(tmp_path / "rules")
    with pytest.raises(ContextRefused, match=words) as refusal:
        Source.load({"kind": "yara", "name": "team", "path": tmp_path / "rules"} | given)
    assert str(refusal.value).endswith(".") and "\n" not in str(refusal.value)


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContextRefused, match="'team'"):
        Context(CHECKOUT, [rules(tmp_path / "a"), rules(tmp_path / "b")])
    with pytest.raises(ContextRefused, match="not the root of this collection"):
        Context(tmp_path, [])


@pytest.mark.parametrize(("rule", "words"), [
    ({"kind": "yara"}, "needs a name"), ({"name": "x", "kind": "snort", "path": "/x"}, "kind yara or clamav"),
    ({"name": "x", "kind": "yara"}, "either a path or a url"),
    ({"name": "x", "kind": "yara", "path": "/x", "url": "https://x/x"}, "either a path or a url"),
    ({"name": "x", "kind": "yara", "url": "http://x/x.yar"}, "https address, or a checksum"),
    ({"name": "x", "kind": "yara", "paths": "/x"}, "does not know paths")])
def test_a_list_of_rules_is_checked(rule: dict[str, str], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        rule_sources([rule], "/tmp/x")


def test_rules_with_an_address_lie_in_a_folder_of_their_own() -> None:
    [one, two] = rule_sources([{"kind": "yara", "name": "forge", "url": "https://x/core.zip?a=../b", "version": "1"},
                               {"kind": "clamav", "name": "own", "path": "/srv/own.ndb"}], "/tmp/x")
    assert (one["path"], one["file"], two["path"], two["url"]) == ("/tmp/x/yara-forge", "core.zip", "/srv/own.ndb", "")
    assert context_rules([one])[0] == {"kind": "yara", "name": "forge", "path": "/tmp/x/yara-forge", "version": "1",
                                       "date": ""}


def test_the_build_has_base_version_and_what_is_lent() -> None:
    words = podman_build(["podman", "--root", "/x"], "/c", "localhost/t:1-2", {"BASE": "debian:12"}, fresh=True,
                         lent=[{"src": "/etc/pip.conf", "dest": "/etc/pip.conf"}], options=["--isolation", "chroot"])
    assert words[:4] == ["podman", "--root", "/x", "build"] and words[-1] == "/c"
    for pair in (("--build-arg", "BASE=debian:12"), ("--build-arg", "VERSION=1-2"), ("--tag", "localhost/t:1-2"),
                 ("--volume", "/etc/pip.conf:/etc/pip.conf:ro"), ("--isolation", "chroot")):
        assert pair in list(pairwise(words))
    assert "--no-cache" in words and "--no-cache" not in podman_build(["podman"], "/c", "t:1", {})


def test_vulnerabilities_are_counted_and_where_nobody_looked_it_is_said() -> None:
    none = vulnerabilities({}, "")
    assert none["scanner"] is None and "none ran" in none["text"] and not too_severe(none, "unknown")
    grype = vulnerabilities({"matches": [{"vulnerability": {"severity": "High"}}, {"vulnerability": {}}]}, "grype")
    assert grype["counts"] == {"high": 1, "unknown": 1} and grype["worst"] == "high"
    told = {"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{"Severity": "CRITICAL"}]}, {}]}
    trivy = vulnerabilities(told, "trivy")
    assert trivy["text"] == "trivy: 1 critical"
    assert vulnerabilities({"SchemaVersion": 2}, "trivy")["text"] == "trivy: none known"
    assert too_severe(grype, "high") and too_severe(grype, "low") and not too_severe(grype, "critical")
    assert not too_severe(trivy, "")
    for broken in ({}, {"error": "no database"}, None):
        with pytest.raises(AnsibleFilterError, match="no report"):
            vulnerabilities(broken, "grype")


def test_settings_name_a_registry_or_an_archive() -> None:
    archive = {"reference": "localhost/t:1", "registry": "", "archive": "toolbox/t-1.tar", "checksum": "sha256:0"}
    assert toolbox_settings(archive) == ["dfir_aws_toolbox_image: localhost/t:1",
                                         "dfir_aws_toolbox_archive: toolbox/t-1.tar",
                                         "dfir_aws_toolbox_archive_checksum: sha256:0"]
    pushed = archive | {"registry": "r.example.org", "reference": "r.example.org/t:1"}
    assert toolbox_settings(pushed)[0].endswith("/t:1") and 'dfir_aws_toolbox_archive: ""' in toolbox_settings(pushed)
    assert days_since("2020-01-01T00:00:00Z") > 2000 and days_since("nonsense") == 0


@pytest.fixture
def module(endpoint: str, aws: Any, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module in this process, as Ansible would."""

    def call(module_name: str, /, check: bool = False, **arguments: Any) -> dict[str, Any]:
        loaded = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{module_name}")
        capsys.readouterr()
        given = {"endpoint_url": endpoint, "access_key": "AKIATESTS", "secret_key": "x", "region": "eu-west-1",
                 "_ansible_check_mode": check, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit):
            loaded.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def test_p40_a_file_is_put_once_and_never_replaced(site: dict[str, Any], module: Run, tmp_path: Path) -> None:
    s3, bucket, path = site["s3"], site["bucket"], tmp_path / "image.tar"
    path.write_bytes(b"image")
    put = {"bucket": bucket, "key": "toolbox/image.tar", "path": str(path)}
    assert module("artifact_put", check=True, **put)["changed"] and "Contents" not in s3.list_objects_v2(Bucket=bucket)
    first = module("artifact_put", **put)
    assert first["changed"] and first["size"] == 5
    assert s3.get_object(Bucket=bucket, Key="toolbox/image.tar")["Body"].read() == b"image"
    assert not module("artifact_put", **put)["changed"]
    assert not module("artifact_put", bucket=bucket, key="toolbox/image.tar", content="image")["changed"]
    path.write_bytes(b"other")
    for check in (True, False):
        refused = module("artifact_put", check=check, **put)
        assert refused["failed"] and "nothing is ever overwritten" in refused["msg"]
    assert s3.get_object(Bucket=bucket, Key="toolbox/image.tar")["Body"].read() == b"image"
    # A longer name beside it is another object.
    assert module("artifact_put", **put | {"key": "toolbox/image"})["changed"]
    missing = module("artifact_put", **put | {"path": str(tmp_path / "nothing"), "key": "toolbox/x"})
    assert missing["failed"] and "cannot be read" in missing["msg"]


def test_published_versions_are_found_by_their_content_newest_first(site: dict[str, Any], module: Run) -> None:
    s3, bucket = site["s3"], site["bucket"]
    for moment, hashed in (("20261101.000000", "a" * 16), ("20261127.101500", "a" * 16), ("20261102.000000", "b" * 16)):
        key = f"toolbox/analyst-tools-0.1.0-{moment}-{hashed}.json"
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps({"image": f"0.1.0-{moment}"}))
    for other in ("toolbox/analyst-tools-0.1.0-20261127.101500.tar", "toolbox/analyst-tools-0.1.0.tar",
                  "toolbox/analyst-tools-0.1.0-20261128.101500.cdx.json",
                  "toolbox/other-0.1.0-20261127.101500-" + "a" * 16):
        s3.put_object(Bucket=bucket, Key=other, Body=b"x")
    found = module("toolbox_versions_info", bucket=bucket, content="a" * 16)
    assert [item["image"] for item in found["versions"]] == ["0.1.0-20261127.101500", "0.1.0-20261101.000000"]
    assert len(module("toolbox_versions_info", bucket=bucket)["versions"]) == 3
    assert module("toolbox_versions_info", bucket=bucket, content="c" * 16)["versions"] == []
    assert module("toolbox_versions_info", bucket=bucket, name="tools")["versions"] == []


def test_the_context_module_changes_nothing(module: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ansible_collections.dfir.aws.plugins.modules import toolbox_context

    rules(tmp_path / "rules")
    given = {"project": str(CHECKOUT), "dest": str(tmp_path / "context.tar"), "inputs": {"BASE": "x"},
             "rules": [{"kind": "yara", "name": "team", "path": str(tmp_path / "rules")}]}
    for check in (True, False):
        capsys.readouterr()
        with patch_module_args({**given, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            toolbox_context.main()
        result = json.loads(capsys.readouterr().out)
        assert not result["changed"] and result["sets"][0]["files"] == 1 and len(result["content"]) == 16
        assert (tmp_path / "context.tar").exists() is not check
