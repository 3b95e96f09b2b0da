# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of rpm systems, in databases that rpm and Berkeley DB themselves have made."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import rpm_database
from ansible_collections.dfir.aws.plugins.module_utils.forensics.findings import collect
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Finding
from ansible_collections.dfir.aws.plugins.module_utils.forensics.packages import Packages
from ansible_collections.dfir.aws.plugins.module_utils.forensics.tree import Tree

ELF = b"\x7fELF\x02\x01\x01" + bytes(60)
SPEC = """
Name: tools
Version: 1
Release: 1
Summary: s
License: l
BuildArch: noarch
%description
d
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc %{buildroot}/usr/share/tools
cp {source} %{buildroot}/usr/bin/tool
echo setting > %{buildroot}/etc/tool.conf
for n in $(seq 60); do echo $n > %{buildroot}/usr/share/tools/$n; done
%files
/usr/bin/tool
%config(noreplace) /etc/tool.conf
/usr/share/tools
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a system with one package, as rpm writes it."""
    if not all(map(shutil.which, ("rpm", "rpmbuild"))):
        pytest.skip("rpm is not installed")
    work = tmp_path_factory.mktemp("rpm")
    (work / "tool").write_bytes(ELF)
    (work / "tools.spec").write_text(SPEC.replace("{source}", str(work / "tool")))
    subprocess.run(["rpmbuild", "-bb", "--define", f"_topdir {work}/build", "--define", "__os_install_post %nil",
                    "--define", "__spec_install_post %nil", "tools.spec"], cwd=work, check=True, capture_output=True)
    (package,) = (work / "build/RPMS").rglob("*.rpm")
    (work / "db").mkdir()
    subprocess.run(["rpm", "--dbpath", work / "db", "--install", "--justdb", "--nodeps", "--ignoreos", package],
                   check=True, capture_output=True)
    return work / "db/rpmdb.sqlite"


def system(root: Path) -> Path:
    for folder in ("usr/bin", "usr/share/tools", "etc", "var/lib/rpm"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "usr/bin/tool").write_bytes(ELF)
    (root / "usr/bin/tool").chmod(0o755)
    (root / "etc/tool.conf").write_text("changed by the administrator\n")
    return root


@pytest.fixture(params=["sqlite", "berkeley"])
def root(request: pytest.FixtureRequest, database: Path, tmp_path: Path) -> Path:
    system(tmp_path)
    if request.param == "sqlite":
        shutil.copyfile(database, tmp_path / "var/lib/rpm/rpmdb.sqlite")
    else:
        pytest.importorskip("dissect.database", reason="dissect is not installed")
        berkeley(database, tmp_path / "var/lib/rpm/Packages")
    return tmp_path


def headers(database: Path) -> list[bytes]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT blob FROM Packages")]


def berkeley(database: Path, target: Path) -> None:
    """The same headers in the format of RHEL 8 and Amazon Linux 2."""
    if not shutil.which("db5.3_load"):
        pytest.skip("db5.3-util is not installed")
    records = [(b"\0" * 4, b"\1\0\0\0"), *((number.to_bytes(4, "little"), header)
                                          for number, header in enumerate(headers(database), 1))]
    dump = "VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n"
    dump += "".join(f" {key.hex()}\n {value.hex()}\n" for key, value in records) + "DATA=END\n"
    subprocess.run(["db5.3_load", target], input=dump, text=True, check=True, capture_output=True)


def findings(root: Path) -> list[Finding]:
    found, failed, _known = collect(Tree(root), lambda text: None)
    assert failed == []
    return found


def test_files_of_packages_are_known(root: Path) -> None:
    packages = Packages(Tree(root))
    assert packages.known and not packages.problem
    assert packages.owns(b"/usr/bin/tool") and packages.foreign(b"/usr/bin/other")
    assert packages.altered(b"/usr/bin/tool") is False
    assert packages.altered(b"/etc/tool.conf") is None  # settings are there to be changed
    assert findings(root) == []


def test_altered_and_foreign_programs_are_found(root: Path) -> None:
    (root / "usr/bin/tool").write_bytes(ELF + b"backdoor")
    (root / "usr/bin/kworker").write_bytes(ELF)
    (root / "usr/bin/kworker").chmod(0o755)
    assert {(item.rule, item.path, item.severity) for item in findings(root)} == {
        ("altered_package_file", "/usr/bin/tool", "high"), ("foreign_program", "/usr/bin/kworker", "high")}


def test_changes_that_were_not_merged_yet_count(database: Path, tmp_path: Path) -> None:
    """A running system is snapshotted while its latest packages lie in the file beside the database."""
    folder = system(tmp_path / "root") / "var/lib/rpm"
    live = tmp_path / "live.sqlite"
    with closing(sqlite3.connect(live)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        connection.execute("INSERT INTO Packages VALUES (1, ?)", headers(database)[:1])
        connection.commit()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{live}{suffix}", folder / f"rpmdb.sqlite{suffix}")
    before = sorted(path.name for path in folder.iterdir())
    assert Packages(Tree(tmp_path / "root")).known
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("name", ["rpmdb.sqlite", "Packages", "Packages.db"])
def test_a_database_that_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    (system(tmp_path) / "var/lib/rpm" / name).write_bytes(b"nonsense" * 1000)
    (found,) = findings(tmp_path)
    assert found.rule == "packages_unknown" and "rpm database could not be read" in found.reason


def test_no_database_at_all_is_said(tmp_path: Path) -> None:
    (found,) = findings(system(tmp_path))
    assert "no list of packages" in found.reason


def test_a_hostile_schema_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpm_database, "STEPS", 20)
    path = system(tmp_path) / "var/lib/rpm/rpmdb.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIEW Packages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                           "SELECT i AS hnum, zeroblob(0) AS blob FROM n WHERE i < 0")
        connection.commit()
    assert "interrupted" in Packages(Tree(tmp_path)).problem


def test_damaged_headers_end_in_no_error(database: Path) -> None:
    (header,) = headers(database)
    chance = random.Random(1)
    for _ in range(300):
        data = bytearray(header)
        for _ in range(chance.randrange(1, 30)):
            data[chance.randrange(min(len(data), 2000))] = chance.randrange(256)
        list(rpm_database.header_files(bytes(data[:chance.randrange(len(data))])))
