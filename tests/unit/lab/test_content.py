# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Building once, and serving what was built."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.config import CHECKOUT
from lab.content import apt, toolbox
from lab.content.build_settings import apt_configuration, parse_pip_options, pip_configuration
from lab.content.cache import BuildError, ensure, recipe_key
from lab.content.servers import PackageServer, RegistryServer
from lab.http_small import SmallServer


def test_a_recipe_is_built_once_also_by_several_at_a_time(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.1)
        (folder / "result").write_text("done")

    threads = [threading.Thread(target=ensure, args=(tmp_path, "thing", "k", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert (tmp_path / "thing-k" / "result").read_text() == "done"


def test_a_failed_build_leaves_nothing_and_the_next_one_starts_afresh(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise BuildError("no")

    (tmp_path / ".building-thing-killed").mkdir()
    with pytest.raises(BuildError):
        ensure(tmp_path, "thing", "k", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".thing.lock"]
    assert list(ensure(tmp_path, "thing", "k", lambda folder: None).iterdir()) == []


def test_older_recipes_go_but_one_and_those_in_use(tmp_path: Path) -> None:
    def made(number: int, hours: float, kind: str = "thing") -> Path:
        folder = tmp_path / f"{kind}-{number:016x}"
        (folder / "rootfs").mkdir(parents=True)
        moment = time.time() - hours * 3600
        os.utime(folder, (moment, moment))
        return folder

    oldest, held, older, newest, recent = made(1, 9), made(2, 8), made(3, 7), made(4, 6), made(5, 0.1)
    other_kind = [made(1, 9, "thing-more"), made(2, 9, "thing-more"), made(3, 9, "thing-more")]
    script = ("import sys; from pathlib import Path; from lab.content.cache import hold; hold(Path(sys.argv[1])); "
              "print('held', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", script, str(held)], cwd=CHECKOUT, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as lab:
        assert lab.stdin and lab.stdout and lab.stdout.readline() == "held\n"
        os.utime(held, (time.time() - 8 * 3600,) * 2)
        current = ensure(tmp_path, "thing", f"{6:016x}", lambda folder: None)
        left = {path for path in tmp_path.iterdir() if path.is_dir()}
        assert left == {current, recent, held, *other_kind}
        lab.stdin.close()
    os.utime(recent, (time.time() - 5 * 3600,) * 2)
    again = ensure(tmp_path, "thing", f"{7:016x}", lambda folder: None)
    # `current` is this process' own, and the one used last besides.
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {again, current, *other_kind}
    assert not oldest.exists() and not older.exists() and not newest.exists()


def test_keys_tell_parts_apart() -> None:
    assert len({recipe_key("ab", "c"), recipe_key("a", "bc"), recipe_key("abc"), recipe_key("abc", "")}) == 4


def test_only_debians_own_archives_are_used() -> None:
    shown = ("http://mirror.example/debian/|bookworm|main\nhttp://mirror.example/debian/|bookworm|contrib\n"
             "https://packages.example/|nodistro|main\nhttp://mirror.example/security/|bookworm-security|main\n"
             "http://mirror.example/debian/|bookworm|main\nhttps://packages.example/apt|tool-bookworm|main\n")
    assert apt.parse_index_targets(shown) == [
        apt.Source("http://mirror.example/debian", "bookworm"),
        apt.Source("http://mirror.example/security", "bookworm-security")]


def test_pip_options_of_the_environment_win_and_others_stay_out() -> None:
    shown = ("global.cert='/file.crt'\n:env:.cert='/env.crt'\n:env:.user='1'\nglobal.index-url='https://files.example'\n"
             "wheel.no-index='1'\n")
    assert parse_pip_options(shown) == {"cert": "/env.crt", "index-url": "https://files.example"}


def test_machine_certificates_serve_unless_pip_names_others() -> None:
    assert "cert = /lent" in pip_configuration({}, "/lent")
    assert "cert = /own" in pip_configuration({"cert": "/own"}, "/lent")


def test_apt_settings_that_lead_to_archives_are_lent(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.crt"
    certificate.touch()
    dump = (f'Acquire "";\nAcquire::http::Proxy "http://proxy.example:3128";\nAcquire::https::CaInfo "{certificate}";\n'
            'Acquire::https::SslCert "/does/not/exist";\nAcquire::Languages "none";\nAPT::Default-Release "x";\n')
    lent: list[Path] = []

    def lend(path: Path) -> str:
        lent.append(path)
        return f"/inside/{path.name}"

    assert apt_configuration(dump, None, lend).splitlines() == [
        'Acquire::http::Proxy "http://proxy.example:3128";', 'Acquire::https::CaInfo "/inside/ca.crt";']
    assert lent == [certificate]


def test_image_follows_its_sources_and_nothing_else(tmp_path: Path) -> None:
    for part in toolbox.CONTEXT:
        source, target = CHECKOUT / part, tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
    before = toolbox.context_hash(tmp_path)
    (tmp_path / "unrelated").write_text("x")
    leftover = tmp_path / "plugins/module_utils/forensics/__pycache__/x.pyc"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_text("x")
    assert toolbox.context_hash(tmp_path) == before
    (tmp_path / "plugins/module_utils/forensics/new.py").write_text("x = 1\n")
    assert toolbox.context_hash(tmp_path) != before


class Served:
    """A content server on the loopback interface, and a way to ask it."""

    def __init__(self, server: SmallServer) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.server = server
        server.start(self._listener)

    def ask(self, path: str, method: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "lib_1%3a2+b_amd64.deb").write_bytes(b"package")
    (tmp_path / "secret").write_text("secret")
    served = Served(PackageServer(folder))
    yield served
    served.server.close()


def test_packages_are_served_under_their_escaped_names(packages: Served) -> None:
    status, headers, body = packages.ask("/debian/./lib_1%253a2%2bb_amd64.deb")
    assert (status, headers["Content-Length"], body) == (200, "7", b"package")


@pytest.mark.parametrize("path", ["/debian/../secret", "/debian/%2e%2e/secret", "/debian/%2e%2e%2fsecret", "/secret",
                                  "/debian/", "/debian/..", "/debian/absent"])
def test_nothing_else_is_served(packages: Served, path: str) -> None:
    status, _, body = packages.ask(path)
    assert status == 404
    assert b"secret" not in body


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[Served, str, str]]:
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return f"sha256:{digest}"

    layer = put(b"layer" * 100_000)
    manifest = put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "layers": [{"digest": layer}]}).encode())
    (tmp_path / "layout" / "index.json").write_text(json.dumps({"manifests": [{"digest": manifest}]}))
    server = RegistryServer()
    server.publish(tmp_path / "layout", "analyst-tools", "1.0")
    served = Served(server)
    yield served, manifest, layer
    server.close()


def test_image_is_pulled_by_tag_and_by_digest(registry: tuple[Served, str, str]) -> None:
    served, manifest, layer = registry
    assert served.ask("/v2/")[0] == 200
    for reference in ("1.0", manifest):
        status, headers, body = served.ask(f"/v2/analyst-tools/manifests/{reference}")
        assert (status, headers["Docker-Content-Digest"]) == (200, manifest)
        assert headers["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"
        assert f"sha256:{hashlib.sha256(body).hexdigest()}" == manifest
    status, headers, body = served.ask(f"/v2/analyst-tools/blobs/{layer}", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "500000", b"")
    assert served.ask(f"/v2/analyst-tools/blobs/{layer}")[2] == b"layer" * 100_000


def test_registry_refuses_what_it_does_not_have(registry: tuple[Served, str, str]) -> None:
    served, manifest, layer = registry
    for path in ("/v2/analyst-tools/manifests/2.0", f"/v2/other/manifests/{manifest}", f"/v2/other/blobs/{layer}",
                 "/v2/analyst-tools/blobs/sha256:" + "0" * 64, "/v2/analyst-tools/blobs/../../index.json"):
        status, _, body = served.ask(path)
        assert status == 404, path
        assert json.loads(body)["errors"][0]["code"]


def test_publishing_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no OCI image layout"):
        RegistryServer().publish(tmp_path, "x", "1")
