# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must have to image, asked of the lab's metadata service as an instance asks it."""

from __future__ import annotations

import importlib
import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from lab.http_small import SmallServer

info = importlib.import_module("ansible_collections.dfir.aws.plugins.modules.imaging_host_info")
CREDENTIALS = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAHOST", "SecretAccessKey": "s", "Token": "t",
               "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"}
ROLE = "latest/meta-data/iam/security-credentials/"
Ask = Callable[[dict[str, str]], dict[str, Any]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the module against a metadata service that has these leaves."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
                 "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    servers = []

    def call(leaves: dict[str, str]) -> dict[str, Any]:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                right = self.command == "PUT" or self.headers.get("x-aws-ec2-metadata-token") == "token"
                text = "token" if self.command == "PUT" else leaves.get(self.path.lstrip("/"))
                self.send_response(401 if not right else 404 if text is None else 200)
                body = (text or "").encode()
                self.send_header("Content-Length", str(len(body)))
                self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "60")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        server, sock = SmallServer(Handler), socket.create_server(("127.0.0.1", 0))
        server.start(sock)
        servers.append(server)
        capsys.readouterr()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with patch_module_args({"metadata_url": url}), pytest.raises(SystemExit):
            info.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    yield call
    for server in servers:
        server.close()


GOOD = {"latest/meta-data/placement/region": "eu-west-1", ROLE: "imaging", f"{ROLE}imaging": json.dumps(CREDENTIALS)}


def test_a_host_with_a_profile_can_image(ask: Ask) -> None:
    found = ask(GOOD)
    assert found["role"] == "imaging" and found["region"] == "eu-west-1" and not found["changed"]
    assert set(found["packages"]) == {"boto3", "botocore", "zstandard", "pyrage"}
    assert "ASIAHOST" not in json.dumps(found) and "token" not in json.dumps(found)


def test_a_host_without_a_profile_is_refused(ask: Ask) -> None:
    said = ask({name: text for name, text in GOOD.items() if not name.startswith(ROLE)})
    assert said["failed"] and said["msg"].startswith("This host has no instance profile: attach one")
    gone = ask({name: text for name, text in GOOD.items() if name != f"{ROLE}imaging"})
    assert gone["failed"] and "gives no credentials" in gone["msg"]


def test_no_metadata_service_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({"metadata_url": "http://127.0.0.1:1"}), pytest.raises(SystemExit):
        info.main()
    assert "does not answer" in json.loads(capsys.readouterr().out)["msg"]


def test_credentials_from_elsewhere_are_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n")
    said = ask(GOOD)
    assert said["failed"] and "from 'shared-credentials-file'" in said["msg"] and "AKIAOTHER" not in json.dumps(said)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
    assert "AWS_ACCESS_KEY_ID is set on this host" in ask(GOOD)["msg"]


def test_a_missing_package_is_named(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "PACKAGES", ("boto3", "no_such_package"))
    said = ask(GOOD)
    assert said["failed"] and "has no usable no_such_package" in said["msg"]
    monkeypatch.setattr(info, "OLDEST", (9, 9))
    assert "is too old" in ask(GOOD)["msg"]
