# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's one process: joins the rooms, listens, and ends them in order."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lab import aws, config, http_tls
from lab.aws import moto_app
from lab.aws.usage import Usage
from lab.aws.world import World
from lab.config import LabConfig
from lab.ebs.api import EbsDirect
from lab.ebs.store import Store
from lab.faults.registry import FaultError, Registry
from lab.front import Front
from lab.http_wire import BadRequest, Request, Response
from lab.mail.reader import list_mails
from lab.mail.sink import Sink

LOG = logging.getLogger("lab.service")


def listening(address: str, port: int) -> socket.socket:
    """A listening socket of the outer network."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(256)
    return sock


class Service:
    """Everything of one lab. `start` it once; `close` ends whatever was started, also when starting failed."""

    def __init__(self, settings: LabConfig, *, with_hosts: bool) -> None:
        self.settings, self.with_hosts = settings, with_hosts
        self.faults = Registry()
        self.stopping = threading.Event()
        self.registry: Any = None
        self._ends: list[tuple[str, Callable[[], Any]]] = []

    def start(self) -> None:
        """Bring everything up; ready when this returns."""
        settings = self.settings
        settings.state.mkdir(parents=True, exist_ok=True)
        self.store = Store(settings.state / "blocks")
        self.world = World(self.store, self.faults, delays=settings.delays, usage=Usage.of_environment("whole"))
        self.aws = aws.start(self.world)
        self._ends.append(("aws", self.aws.close))
        self.ebs = EbsDirect(self.store, self.aws.catalog, self.aws.authorizer, self.faults)
        names = ["localhost", "127.0.0.1", config.SERVICE_IP]
        tls = http_tls.ensure(settings.state / "tls", names)
        self.front = Front(self.aws.app, self.ebs, control=self.control, faults=self.faults,
                           tls_context=tls.context())
        self._ends.append(("front", self.front.close))
        sink = Sink(settings.mails, self.faults)
        sink.start("127.0.0.1", settings.smtp_port)
        self._ends.append(("mail", sink.stop))
        outer = listening("127.0.0.1", settings.port)
        outer_tls = listening("127.0.0.1", settings.tls_port)
        if self.with_hosts:
            self._start_hosts()
        self.front.serve(outer_tls, tls=True, control=False)
        self.front.serve(outer, control=True)  # last: its answer means that the lab is up

    def _start_hosts(self) -> None:
        # Imported here: a lab without hosts runs without root and without what hosts need.
        from lab.content.host_image import ensure_packages
        from lab.content.servers import PackageServer, RegistryServer
        from lab.content.wheels import ensure_wheels
        from lab.hosts import Hosts
        from lab.imds import ImdsServer
        from lab.network import Network

        settings = self.settings
        network = Network(settings)
        self._ends.append(("network", network.close))
        network.up()
        hosts = Hosts(settings, network, self.faults)
        self._ends.append(("hosts", hosts.close))
        self.world.hosts = hosts
        metadata = ImdsServer(self.aws.metadata)
        metadata.start(network.listen(config.METADATA_IP, 80))
        self._ends.append(("metadata", metadata.close))
        packages = PackageServer(ensure_packages(settings.cache), ensure_wheels(settings.cache))
        packages.start(network.listen(config.SERVICE_IP, config.PACKAGES_PORT))
        self._ends.append(("packages", packages.close))
        self.registry = RegistryServer()
        self.registry.start(network.listen(config.SERVICE_IP, config.REGISTRY_PORT))
        self._ends.append(("registry", self.registry.close))
        self.front.serve(network.listen(config.SERVICE_IP, settings.port))

    def close(self) -> None:
        """End every room, last one first; one that fails does not keep the others."""
        if hasattr(self, "world"):
            self.world.close()  # hosts that end now end for good: no state follows from it
        while self._ends:
            name, end = self._ends.pop()
            try:
                end()
            except Exception:
                LOG.exception("%s did not end cleanly", name)

    # The lab's own calls, on the outer plain port only.

    def control(self, request: Request) -> Response:
        """Answer `/_lab/…`."""
        name = request.path.removeprefix("/_lab/").rstrip("/")
        try:
            handler = getattr(self, f"_control_{name}", None) if name.isidentifier() else None
            if handler is None:
                return Response.json({"error": f"The lab has no control call {name!r}."}, 404)
            return Response.json(handler(request))
        except (FaultError, ValueError, BadRequest) as error:
            return Response.json({"error": str(error)}, 400)

    def _control_health(self, _: Request) -> Any:
        return {"ok": True, "pid": os.getpid(), "hosts": self.with_hosts, "state": str(self.settings.state)}

    def _control_stop(self, _: Request) -> Any:
        self.stopping.set()
        return {"ok": True}

    def _control_faults(self, request: Request) -> Any:
        if request.method == "POST":
            return self.faults.arm_json(request.json())
        if request.method == "DELETE":
            name = request.query.removeprefix("name=") or None
            return {"cleared": self.faults.clear(name)}
        return {"armed": self.faults.list(), "known": self.faults.describe()}

    def _control_delays(self, request: Request) -> Any:
        delays = self.settings.delays
        known = [f.name for f in fields(delays)]
        if request.method == "POST":
            changes = request.json() or {}
            for name, value in changes.items():
                if name not in known:
                    raise ValueError(f"There is no delay {name!r}; the lab knows: {', '.join(known)}.")
                if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                    raise ValueError(f"The delay {name} must be a number of seconds from 0 up, not {value!r}.")
            for name, value in changes.items():
                setattr(delays, name, float(value))
        return {name: getattr(delays, name) for name in known}

    def _control_ebs(self, request: Request) -> Any:
        if request.method == "POST":
            self.ebs.settings.update(request.json() or {})
        return self.ebs.settings.to_json()

    def _control_images(self, request: Request) -> Any:
        if self.registry is None:
            raise ValueError("This lab has no image registry, because it was started without hosts.")
        asked = request.json() or {}
        try:
            layout, name, tag = Path(asked["layout"]), str(asked["name"]), str(asked["tag"])
        except (KeyError, TypeError):
            raise ValueError('Publishing an image needs "layout", "name" and "tag".') from None
        self.registry.publish(layout, name, tag)
        return {"published": f"{config.SERVICE_IP}:{config.REGISTRY_PORT}/{name}:{tag}"}

    def _control_status(self, _: Request) -> Any:
        with moto_app.MODELS:
            models = [(region, moto_app.ec2(region)) for region in sorted(moto_app.ec2_regions())]
            answer: dict[str, Any] = {"instances": [], "volumes": [], "snapshots": []}
            for region, model in models:
                for item in model.all_instances():
                    answer["instances"].append({
                        "id": item.id, "region": region, "state": item.state, "type": item.instance_type,
                        "address": item.private_ip, "tags": model.tags.get(item.id, {}),
                        "reason": item.state_reason.message})
                for item in model.volumes.values():
                    attachment = item.attachment
                    answer["volumes"].append({
                        "id": item.id, "region": region, "state": item.status, "gib": item.size,
                        "attached": f"{attachment.instance.id} {attachment.device}" if attachment else "",
                        "tags": model.tags.get(item.id, {})})
                for item in model.snapshots.values():
                    answer["snapshots"].append({
                        "id": item.id, "region": region, "state": item.status, "progress": item.progress,
                        "gib": item.volume_size, "description": item.description,
                        "message": item.state_message or "", "tags": model.tags.get(item.id, {})})
        mails = list_mails(self.settings.mails)
        answer["mails"] = [{"file": str(mail.path), "subject": mail.subject} for mail in mails]
        answer["faults"] = self.faults.list()
        answer["delays"] = asdict(self.settings.delays)
        answer["hosts"] = self.with_hosts
        return answer


def run(settings: LabConfig, *, with_hosts: bool) -> int:
    """Serve until SIGTERM, SIGINT or the control call; the process that `up` starts."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s",
                        stream=sys.stderr)
    for noisy in ("werkzeug", "mail.log"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    faulthandler.register(signal.SIGUSR1)  # `kill -USR1` writes all threads' stacks to the log
    service = Service(settings, with_hosts=with_hosts)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stopping.set())
    settings.state.mkdir(parents=True, exist_ok=True)
    settings.pid_file.write_text(f"{os.getpid()}\n")
    try:
        service.start()
        LOG.info("the lab is up at %s", settings.endpoint)
        service.stopping.wait()
        LOG.info("the lab goes down")
    except Exception as error:
        LOG.exception("the lab could not start")
        print(f"lab: could not start: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        service.close()
        with contextlib.suppress(FileNotFoundError):
            settings.pid_file.unlink()
    return 0
