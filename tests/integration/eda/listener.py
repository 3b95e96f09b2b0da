# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebook's process on free ports of the loopback, what is sent to it, and what it leaves in the lab."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.event_fields import event_key

from lab import audit
from lab.config import ACCOUNT, LabConfig
from lab.mail.reader import list_mails
from tests.kit import CHECKOUT, tool_environment

SECRET, TOKEN = "people-s-secret-0123456789abcdef", "a-bearer-token-0123456789abcdef"
RULEBOOK = CHECKOUT / ".venv-eda" / "bin" / "ansible-rulebook"
MARK = "DFIR_TEST_EDA"
BUCKET, HOME = f"dfir-artifacts-{ACCOUNT}", "eu-west-1"
PATIENCE = 180  # seconds, for what takes a few


def documented(language: str, number: int = 0) -> str:
    """A block of code of docs/webhook.md, as it is printed."""
    text = (CHECKOUT / "docs" / "webhook.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[number]


def until(found: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What `found` finds at last, in so many seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come")


class Listener:
    """The process, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests, self.findings = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.cafile = folder / "tls.crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", folder / "tls.key", "-out", self.cafile, "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        (folder / "eda.yml").write_text(json.dumps({
            "dfir_eda_host": "127.0.0.1", "dfir_eda_requests_port": self.requests,
            "dfir_eda_findings_port": self.findings, "dfir_eda_certfile": str(self.cafile),
            "dfir_eda_keyfile": str(folder / "tls.key")}))

    def start(self) -> None:
        """As docs/webhook.md says it; returns when both ports answer."""
        if not RULEBOOK.exists():
            pytest.fail("There is no .venv-eda: run lab/setup.sh eda.")
        environment = tool_environment() | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
                                            "DFIR_EDA_HMAC_SECRET": SECRET, "DFIR_EDA_TOKEN": TOKEN,
                                            MARK: str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [RULEBOOK, "-r", "dfir.aws.analysis_requests", "-i", CHECKOUT / "inventories" / "lab",
                 "--vars", self.folder / "eda.yml", "-E", "DFIR_EDA_HMAC_SECRET,DFIR_EDA_TOKEN", "-m", "4",
                 "--skip-audit-events"],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        for port in (self.requests, self.findings):
            until(lambda port=port: self.is_up() and _answers(port), f"an answer of port {port}")

    def stop(self) -> None:
        if self._process:
            self._process.kill()  # nothing is handed over: what is in memory is lost
            self._process.wait()
            self._process = None
        for pid in self.playbooks():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def is_up(self) -> bool:
        """Whether the process lives; a dead one ends the test that asks."""
        assert self._process and self._process.poll() is None, self.log()[-4000:]
        return True

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Until the output says it, however it was folded."""
        until(lambda: text in " ".join(re.sub(r"\x1b\[[0-9;]*m", "", self.log()).split()), text)

    def settle(self) -> None:
        """Until no playbook of its is at work, nor waits for another one to end."""
        until(lambda: not self.playbooks() and not time.sleep(2) and not self.playbooks(), "the end of all playbooks")

    def playbooks(self) -> list[int]:
        """The playbooks that it started. They have sessions of their own, and its environment."""
        mark, found = f"{MARK}={self.folder}\0".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes() and b"ansible-playbook" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    @contextmanager
    def connection(self, port: int) -> Iterator[http.client.HTTPSConnection]:
        context = ssl.create_default_context(cafile=self.cafile)
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=30)
        try:
            yield connection
        finally:
            connection.close()

    def post(self, port: int, body: bytes, headers: dict[str, str]) -> int:
        with self.connection(port) as connection:
            return _post(connection, "/", body, headers)

    def request(self, request: dict[str, Any]) -> int:
        """Send a request as a tool does, by the documented function."""
        body = json.dumps(request).encode()
        return self.post(self.requests, body, {"X-DFIR-Signature-256": code()["signature"](SECRET, body)})

    def finding(self, finding: dict[str, Any]) -> int:
        """Send a finding as EventBridge does."""
        return self.post(self.findings, json.dumps(finding).encode(), {"Authorization": f"Bearer {TOKEN}"})

    def hostile(self, connection: http.client.HTTPSConnection, raw: bytes, template: str) -> int:
        """One body, good for either door, with a template in the address and in a header."""
        place = "/" + "".join(f"%{byte:02X}" for byte in template.encode())
        return _post(connection, place, raw, {"X-DFIR-Signature-256": code()["signature"](SECRET, raw),
                                              "Authorization": f"Bearer {TOKEN}", "X-Note": template})

    def in_the_clear(self, body: bytes) -> None:
        connection = http.client.HTTPConnection("localhost", self.requests, timeout=30)
        try:
            _post(connection, "/", body, {})
        except http.client.HTTPException as error:
            raise OSError(f"no status: {error}") from error
        finally:
            connection.close()

    def documented_curl(self, incident: str) -> int:
        """The commands of docs/webhook.md, with another incident."""
        script = next(block for block in (documented("sh", 0), documented("sh", 1)) if "curl" in block)
        assert "INC-2026-0042" in script
        done = subprocess.run(["bash", "-euc", script.replace("INC-2026-0042", incident)], check=False,
                              env=os.environ | {"DFIR_EDA_HMAC_SECRET": SECRET, "CACERT": str(self.cafile),
                                                "URL": f"https://localhost:{self.requests}"})
        return done.returncode


def code() -> dict[str, Any]:
    """The functions of the signing example, as they are printed."""
    if not _CODE:
        exec(documented("python", 0), _CODE)
    return _CODE


_CODE: dict[str, Any] = {}


class Site:
    """The lab behind it."""

    def __init__(self, lab: LabConfig, folder: Path) -> None:
        self.folder, self._lab = folder, lab
        self._s3 = audit.client(lab, "s3", HOME)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        listener = Listener(self.folder)
        try:
            listener.start()
            yield listener
        finally:
            listener.stop()

    def keys(self, prefix: str) -> list[str]:
        return [item["Key"] for item in self._s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def there(self, key: str) -> bool:
        return key in self.keys(key)

    def eventually(self, key: str, good: Callable[[dict[str, Any]], Any] = bool, patience: float = PATIENCE
                   ) -> dict[str, Any]:
        """An object of the bucket, once it is there and good."""
        def look() -> Any:
            if not self.there(key):
                return None
            content = json.loads(self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            return content if good(content) else None

        found: dict[str, Any] = until(look, key, patience)
        return found

    def event(self, event_id: str, resource: str, region: str, outcome: str) -> dict[str, Any]:
        """The marker of an event that has ended so."""
        key = event_key({"event_id": event_id, "event_account": ACCOUNT, "event_region": region,
                         "event_resource": resource})
        ended = self.eventually(f"requests/events/{key}.json", lambda marker: marker["state"] == "ended")
        assert ended["outcome"] == outcome, ended
        return ended

    def documented_id(self, request: dict[str, Any]) -> str:
        """The id that the documented function computes."""
        return str(code()["request_id"](ACCOUNT, request))

    def mails(self) -> list[Any]:
        return list(list_mails(self._lab.mails))

    def mail(self, subject: str) -> str:
        """The text of the mails with that in the subject; there is one at least."""
        return until(lambda: "\n".join(mail.text for mail in self.mails() if subject in mail.subject),
                     f"a mail: {subject}")


def _post(connection: http.client.HTTPConnection, place: str, body: bytes, headers: dict[str, str]) -> int:
    connection.request("POST", place, body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
