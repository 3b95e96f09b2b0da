# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `image` decides and hands on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import EngineError
from ansible_collections.dfir.aws.plugins.module_utils.ebs.pack_bucket import most_bytes
from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3_object import part_size

KEPT = ("snapshot_id", "size", "blocks", "linear_sha256", "sha256", "md5", "sessions")


def _hours(budget: Mapping[str, Any], hashes: Sequence[str]) -> float:
    seconds = budget["fetch_seconds"] + (budget["hole_hash_seconds"] if hashes else 0)
    return float(seconds) / 3600


def _limit(operator: Any, own: Any, name: str) -> tuple[float, str] | None:
    """The lower limit, and whose it is."""
    found = []
    for value, whose in ((operator, f"dfir_aws_image_{name}"), (own, name)):
        if value in (None, ""):
            continue
        try:
            found.append((float(value), whose))
        except (TypeError, ValueError):
            raise AnsibleFilterError(f"{whose} must be a number, or empty for no limit; it is {value!r}.") from None
    return min(found) if found else None


def image_refusal(budget: Mapping[str, Any], request: Mapping[str, Any], *, max_cost_usd: Any = "", max_hours: Any = "",
                  hashes: Sequence[str] = (), dest: str = "", recipients: Sequence[str] = ()) -> str:
    """Why the image is not made, in one sentence, or an empty string."""
    if recipients and not dest:
        try:
            part_size(most_bytes(budget["blocks"], budget["volume_bytes"]))
        except EngineError as error:
            return f"The image of {budget['snapshot_id']} cannot be packed in the bucket, nothing was created. {error}"
    name = budget["snapshot_id"]
    limit = _limit(max_cost_usd, request.get("max_cost_usd"), "max_cost_usd")
    if limit is not None and budget["cost_usd"] > limit[0]:
        return (f"The image of {name} would cost about {budget['cost_usd']:.4f} USD, more than the limit of "
                f"{limit[0]:g} USD ({limit[1]}): nothing was created. Raise the limit, or ask for less.")
    limit, hours = _limit(max_hours, request.get("max_hours"), "max_hours"), _hours(budget, hashes)
    if limit is not None and hours > limit[0]:
        return (f"The image of {name} would take about {hours:.2f} hours, more than the limit of {limit[0]:g} hours "
                f"({limit[1]}): nothing was created. Raise the limit, or leave out digests of the whole image.")
    return ""


def image_plan(budget: Mapping[str, Any], hashes: Sequence[str] = ()) -> str:
    """What the image will take, in one line."""
    about = "" if budget["exact"] else "about "
    return (f"{budget['snapshot_id']}: {about}{budget['blocks']} blocks, {budget['bytes_to_fetch'] / 2**30:.2f} GiB, "
            f"{budget['cost_usd']:.4f} USD, {_hours(budget, hashes):.2f} hours at least")


def image_record(made: Mapping[str, Any], dest: str = "") -> str:
    """Where the record of the reading back goes: beside the image, once for each run."""
    started = _stamp(made["image"]["session"])
    if not started:
        return ""  # the image was there, and so is the record of the run that made it
    suffix = f"verification-{started}.json"
    return f"{dest}.{suffix}" if dest else f"{made['image']['sinks'][0]['target']}{suffix}"


def _stamp(session: Mapping[str, Any]) -> str:
    return str(session.get("started", "")).replace(":", "").replace("-", "")


def image_result(made: Mapping[str, Any], budget: Mapping[str, Any], verified: Mapping[str, Any],
                 packed: Mapping[str, Any], dest: str = "", here: bool = True) -> dict[str, Any]:
    """What the role hands on. `here`: on the controller, where a file can get a report beside it."""
    image = made["image"]
    return {
        "changed": bool(made["changed"]),
        "places": [sink["target"] for sink in image["sinks"]],
        "manifest": made["manifest"],
        **{name: image[name] for name in KEPT},
        "budget": dict(budget),
        "verification": dict(verified["verification"]),
        "record": image_record(made, dest),
        "packed": dict(packed.get("packed") or {}),
        "report": _report_at(image, packed.get("packed") or {}, dest) if here or not dest else "",
    }


def _report_at(image: Mapping[str, Any], packed: Mapping[str, Any], dest: str) -> str:
    """Where the report on an image lies, without its ending: one for the image, and one for each time it was packed."""
    home = f"{dest}." if dest else image["sinks"][0]["target"]
    stamp = _stamp((image["sessions"] or [{}])[-1])
    return f"{home}report-{stamp or 'image'}{'-' + packed['packed_sha256'][:8] if packed else ''}"


def images_summary(claims: Sequence[Mapping[str, Any]], problems: Sequence[str] = ()) -> dict[str, Any]:
    """How the images of a request stand, by the claims on its snapshots."""
    done = [{"snapshot_id": claim["snapshot_id"], "host": str(claim["holder"]).partition("@")[0], **claim["image"]}
            for claim in claims if claim["state"] == "done"]
    missing = [f"{claim['snapshot_id']}: {_state(claim)}" for claim in claims if claim["state"] != "done"]
    made = [f"{image['snapshot_id']}: made on {image['host']}" for image in done]
    why = " ".join([*missing, *problems])
    reason = f"{len(missing)} of {len(claims)} images are not made. {why}" if missing else ""
    return {
        "complete": not missing,
        "done": done,
        "failed": [{"snapshot_id": claim["snapshot_id"], "reason": _state(claim)} for claim in claims
                   if claim["state"] not in ("done", "held") and claim["failures"]],
        "lines": [*made, *missing, *problems],
        "reason": reason,
        "cost_usd": sum(image["budget"]["cost_usd"] for image in done),
        "get_calls": sum(image["budget"]["get_calls"] for image in done),
    }


def _state(claim: Mapping[str, Any]) -> str:
    host = str(claim["holder"]).partition("@")[0]
    if claim["state"] == "held":
        return f"held by {host}, which works on it or has died."
    if claim["failures"]:
        last = claim["failures"][-1]
        return f"{str(last['holder']).partition('@')[0]} could not make it: {last['reason']}"
    return f"given back by {host}." if claim["holder"] else "nobody has begun with it."


def host_problems(facts: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """What the hosts of a play remember of what went wrong, a sentence each."""
    found = [(host, facts[host].get(name)) for host in sorted(facts)]
    return [f"{host}: {problem['task']}: {problem['message']}" for host, problem in found if problem]


def imaging_host_result(info: Mapping[str, Any], venv: str) -> dict[str, Any]:
    """What the role imaging_host hands on."""
    return {"python": f"{venv}/bin/python", "role": info.get("role", ""), "packages": dict(info.get("packages") or {})}


def pip_source(wheels: str, index_url: str = "", trusted_hosts: Sequence[str] = ()) -> str:
    """Options that tell pip where packages come from."""
    words = ["--no-index", "--find-links", wheels] if wheels else ["--index-url", index_url] if index_url else []
    return shlex.join([*words, *(word for host in trusted_hosts for word in ("--trusted-host", host))])


class FilterModule:
    """Filters of the role image."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"image_refusal": image_refusal, "image_plan": image_plan, "image_record": image_record,
                "image_result": image_result, "images_summary": images_summary, "host_problems": host_problems,
                "imaging_host_result": imaging_host_result, "pip_source": pip_source}
