# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account lacks outside AWS: settings, mail server, toolbox image.

The mail server is the lab's own. The registry is a small server that answers as registries do, since the lab's is seen
by hosts only.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.account import findings, outside
from botocore.exceptions import EndpointConnectionError

from lab.faults.registry import Registry
from lab.mail.sink import Sink

Found = list[findings.Finding]
SETTINGS: dict[str, Any] = {
    "bucket": "b", "bucket_region": "eu-west-1", "controller_cidrs": ["198.51.100.10/32"], "mail": {},
    "controller_public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zb8cLDeuEZkWBBBlHq0hNjtG7zS4kf6kV0WJQ1F7u",
    "toolbox_image": "", "toolbox_archive": "", "toolbox_registry_insecure": True,
}


def states(found: Found) -> list[str]:
    return [finding.state for finding in found]


def missing(found: Found, *words: str) -> findings.Finding:
    """The one finding that is missing; it says these words and what to do."""
    those = [finding for finding in found if finding.state == findings.MISSING]
    assert len(those) == 1, found
    for word in words:
        assert word in those[0].text, those[0]
    assert those[0].remedy
    return those[0]


class TestSettings:
    def look(self, **settings: Any) -> Found:
        return list(outside.settings(findings.Asks({**SETTINGS, **settings}, lambda service, region: None)))

    @pytest.mark.parametrize(("settings", "said"), [
        ({"bucket": ""}, "dfir_aws_artifact_bucket is not set"), ({"controller_cidrs": []}, "is empty"),
        ({"bucket_region": ""}, "dfir_aws_artifact_bucket_region is not set"),
        ({"controller_cidrs": ["0.0.0.0/0"]}, "the whole internet"), ({"controller_cidrs": ["10.0.0/8x"]}, "no range"),
        ({"controller_public_key": ""}, "key is empty"), ({"controller_public_key": "ssh-ed25519 x"}, "public_key")])
    def test_each_missing_in_turn(self, settings: dict[str, Any], said: str) -> None:
        missing(self.look(**settings), said)


class TestMail:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[tuple[Registry, int, Path]]:
        faults = Registry()
        sink = Sink(tmp_path / "mails", faults)
        sink.start("127.0.0.1", 0)
        yield faults, sink.port, sink.folder
        sink.stop()

    def look(self, port: int, **more: Any) -> Found:
        mail = {"host": "127.0.0.1", "port": port, "secure": "never", "from": "dfir@example.org",
                "recipients": ["team@example.org"], "timeout": 5, **more}
        return list(outside.mail(findings.Asks({**SETTINGS, "mail": mail}, lambda service, region: None)))

    def test_a_server_that_takes_mail_gets_none(self, server: tuple[Registry, int, Path]) -> None:
        _faults, port, folder = server
        for secure in ("never", "try"):
            assert states(self.look(port, secure=secure)) == [findings.OK]
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("stage", ["connect", "helo", "mail", "rcpt"])
    def test_a_server_that_refuses(self, server: tuple[Registry, int, Path], stage: str) -> None:
        faults, port, _folder = server
        faults.arm("smtp.refuse", args={"stage": stage, "code": 554})
        missing(self.look(port), "554")

    def test_a_server_without_the_tls_that_is_demanded(self, server: tuple[Registry, int, Path]) -> None:
        missing(self.look(server[1], secure="starttls"), "STARTTLS")
        missing(self.look(server[1], secure="always"), "was not reached")

    def test_a_login_that_it_does_not_take(self, server: tuple[Registry, int, Path]) -> None:
        found = missing(self.look(server[1], username="dfir", password="a-password-that-nobody-prints"))
        assert "a-password" not in found.text

    def test_no_server(self) -> None:
        missing(self.look(1), "was not reached")
        missing(self.look(1, host=""), "no server is set")


class RegistryServer(BaseHTTPRequestHandler):
    """Answers as registries do: `there`, `token` (an anonymous one first), `closed` (a login), `page` (no registry)."""

    def do_GET(self) -> None:  # noqa: N802  the base class's name
        name = self.path.split("/")[2] if self.path.startswith("/v2/") else "auth"
        wanted = "Bearer good"
        if name == "auth":
            self._say(200, {"token": "good"} if "scope=open" in self.path else {})
        elif name == "there" or (name == "token" and self.headers.get("Authorization") == wanted):
            self._say(200, {"schemaVersion": 2}, "application/vnd.oci.image.manifest.v1+json")
        elif name in ("token", "closed"):
            realm = f"http://{self.headers['Host']}/auth"
            scope = "open" if name == "token" else "shut"
            self._say(401, {"errors": []}, challenge=f'Bearer realm="{realm}",service="r",scope="{scope}"')
        elif name == "page":
            self._say(404, {"hello": "proxy"}, "text/html")
        else:
            self._say(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})

    def _say(self, status: int, body: dict[str, Any], kind: str = "application/json", challenge: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: pytest's output is read by people."""


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), RegistryServer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestToolbox:
    def look(self, **settings: Any) -> Found:
        return list(outside.toolbox(findings.Asks({**SETTINGS, **settings}, lambda service, region: None)))

    @pytest.mark.parametrize(("name", "state"), [
        ("there/tools:1", "ok"), ("token/tools:1", "ok"), ("gone/tools:1", "missing"), ("closed/tools:1", "missing"),
        ("page/tools:1", "not checkable"), (f"there/tools@sha256:{'0' * 64}", "ok")])
    def test_what_a_registry_says(self, registry: str, name: str, state: str) -> None:
        assert states(self.look(toolbox_image=f"{registry}/{name}")) == [state]

    def test_a_registry_that_is_not_reached_is_not_checkable(self) -> None:
        assert states(self.look(toolbox_image="127.0.0.1:1/tools:1")) == [findings.UNKNOWN]

    def test_no_image_or_no_full_name(self) -> None:
        missing(self.look(), "is not set")
        missing(self.look(toolbox_image="tools"), "no full name")


def test_an_aws_that_is_not_reached_ends_no_other_check() -> None:
    def check() -> Iterator[findings.Finding]:
        yield findings.Finding("bucket", findings.OK, "there")
        raise EndpointConnectionError(endpoint_url="https://s3.invalid")

    found = findings.carried_out("bucket", "", check)
    assert states(found) == [findings.OK, findings.UNKNOWN]
    assert found[1].text == "AWS was not reached (EndpointConnectionError)"
