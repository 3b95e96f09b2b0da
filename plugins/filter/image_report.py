# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image as the data of a report (docs/report.md says what each key holds)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE
from ansible_collections.dfir.aws.plugins.module_utils.ebs.version import __version__

COLUMNS = (("started", "Started", "time"), ("finished", "Finished", "time"), ("fetched", "Blocks fetched", "bytes"),
           ("kept", "Blocks that were there", "bytes"), ("requests", "Requests", "bytes"),
           ("again", "Refusals and retries", "text"))


def image_report(image: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """What a report tells of an image that the role `image` made, by that role's result."""
    sessions = list(image["sessions"])
    fetched = sum(int(session.get("fetched", 0)) for session in sessions)
    verified = image["verification"]
    region = next((one["region"] for one in request["snapshots"] if one["id"] == image["snapshot_id"]), "")
    return {
        "schema": 1, "kind": "image", "title": image["snapshot_id"], "incident": request["incident"],
        "made": verified.get("finished", ""), "tool": {"name": "dfir.aws", "version": __version__},
        "source": {"kind": "snapshot", "name": image["snapshot_id"], "region": region, "size_bytes": image["size"],
                   "blocks_read": fetched, "bytes_read": fetched * BLOCK_SIZE,
                   "started": sessions[0].get("started", "") if sessions else ""},
        "facts": [{"label": label, "value": value} for label, value in _facts(image) if value],
        "warnings": list(_warnings(image)),
        "tables": [{"id": "runs", "title": "Runs",
                    "columns": [{"key": key, "title": title, "type": kind} for key, title, kind in COLUMNS],
                    "rows": [_row(session) for session in sessions]}],
        "hashes": list(_hashes(image)),
    }


def _facts(image: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    verified, packed, budget = image["verification"], image["packed"], image["budget"]
    yield from (("Image", place) for place in image["places"])
    yield "Manifest", image["manifest"]
    yield "Written blocks", f"{image['blocks']:,} of {BLOCK_SIZE // 1024} KiB"
    yield "Linear SHA-256", image["linear_sha256"]
    yield "Image SHA-256", image["sha256"]
    yield "Image MD5", image["md5"]
    state = "all as the manifest says" if verified.get("ok") else "NOT as the manifest says"
    yield "Read back", f"{verified.get('blocks', 0):,} blocks, {state}"
    yield "Record of it", image["record"]
    if packed:
        yield "Packed image", packed["path"]
        yield "Packed for", f"{len(packed['recipients'])} recipients"
    yield "Cost", f"about {budget['cost_usd']:.2f} USD, if all blocks were fetched"


def _warnings(image: Mapping[str, Any]) -> Iterator[str]:
    if not image["sha256"]:
        yield ("No SHA-256 of the whole image was asked for (dfir_aws_image_hashes). The linear one proves every block "
               "that was written, and where it belongs.")
    yield from image["verification"].get("notes", [])


def _row(session: Mapping[str, Any]) -> dict[str, Any]:
    counts = dict(session.get("counts") or {})
    requests = counts.pop("requests", None)
    again = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in sorted(counts.items()) if number)
    return {key: session.get(key, "") for key in ("started", "finished", "fetched", "kept")} | {
        "requests": requests, "again": again or "none"}


def _hashes(image: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if image["sha256"]:
        yield {"name": "the whole image, holes as zeros", "sha256": image["sha256"], "bytes": image["size"]}
    if image["packed"]:
        yield {"name": image["packed"]["path"].rpartition("/")[2], "sha256": image["packed"]["packed_sha256"]}


class FilterModule:
    """The filter image_report."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Its name."""
        return {"image_report": image_report}
