# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the evidence volumes of a request, and which of them get a second volume for their journals."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.evidence_mount import REPLAY
from ansible_collections.dfir.aws.plugins.module_utils.evidence_sets import sets

Volume = Mapping[str, Any]
# Kinds of partitions that hold something, and nothing that an analysis can look at.
CLOSED = ("luks", "bitlocker", "swap", "raid", "unknown")

# What is known of a volume that was filled block by block.
IMAGE = ("size", "blocks", "sha256", "linear_sha256")


def evidence_facts(mounted: Sequence[Mapping[str, Any]], known: Mapping[str, Any] | None = None,
                   filled: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """All volumes of a host and the sets that they belong to, evidence first.

    :param mounted: the results of M(dfir.aws.evidence_volume) in a loop.
    :param known: what was known before; volumes that are mounted again take the places of their earlier selves.
    :param filled: the results of M(dfir.aws.ebs_snapshot_image) in a loop over volumes that were made empty. Such a
        volume has an C(image): what was hashed while it was written.
    """
    images = {str(result["item"]["volume_id"]): {key: result["image"][key] for key in IMAGE} for result in filled}
    new = [{**result["volume"], **({"image": images[result["volume"]["volume_id"]]}
                                   if result["volume"]["volume_id"] in images else {})} for result in mounted]
    ids = {volume["volume_id"] for volume in new}
    volumes = [*(dict(volume) for volume in (known or {}).get("volumes") or [] if volume["volume_id"] not in ids), *new]
    volumes.sort(key=lambda volume: volume["role"] != "evidence")
    return {"volumes": volumes, "sets": sets(volume for volume in volumes if volume["role"] == "evidence")}


def evidence_is_known(facts: Mapping[str, Any], before: str) -> bool:
    """Whether an earlier run left the same of the same evidence, with or without second volumes.

    :param before: the file of facts in base64, empty where there is none.
    """
    try:
        data = json.loads(base64.b64decode(before, validate=True))
        evidence = [volume for volume in data["volumes"] if volume["role"] == "evidence"]
        return bool(evidence == list(facts["volumes"]) and data["sets"] == list(facts["sets"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def journal_wanted(evidence: Mapping[str, Any] | None, journal: str) -> list[dict[str, Any]]:
    """The evidence volumes that get a second volume, and the partitions whose journals are to be applied there.

    :param evidence: what `evidence_facts` said.
    :param journal: V(ignore) wants none; V(auto) where a journal is known to be dirty; V(both) wherever there is one.
    """
    wanted = []
    for volume in (evidence or {}).get("volumes") or []:
        partitions = [int(part["number"]) for part in volume["partitions"]
                      if part["kind"] == "filesystem" and part["type"] in REPLAY
                      and (journal == "both" or (journal == "auto" and part["journal_dirty"] is True))]
        if volume["role"] == "evidence" and partitions:
            wanted.append({"journal_of": str(volume["volume_id"]), "snapshot_id": str(volume["snapshot_id"]),
                           "volume_gib": int(volume.get("size_bytes") or 0) >> 30, "partitions": partitions})
    return wanted


def journal_volumes(wanted: Sequence[Mapping[str, Any]], created: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The second volumes as role `evidence` takes them: what `journal_wanted` said, and the volume made for each.

    :param created: the results of M(dfir.aws.ec2_snapshot_volume) in a loop over `wanted`.
    """
    made = {str(result["item"]["journal_of"]): result for result in created}
    return [{**item, "volume_id": str(made[str(item["journal_of"])]["volume_id"]), "role": "journal",
             "blank": bool(made[str(item["journal_of"])].get("blank"))} for item in wanted]


def artifact_folders(volumes: Sequence[Volume], request: Mapping[str, Any]) -> dict[str, str]:
    """Where the artifacts of each evidence volume go, where a request has several snapshots; empty for one."""
    if len(request["snapshots"]) < 2:
        return {}
    prefixes = {str(snapshot["id"]): str(snapshot["artifact_prefix"]) for snapshot in request["snapshots"]}
    return {str(volume["volume_id"]): prefixes[str(volume["source_id"])] for volume in volumes}


def artifact_beginnings(volumes: Sequence[Volume], request: Mapping[str, Any]) -> list[str]:
    """What the keys of artifacts begin with, for each evidence volume of several snapshots."""
    return [f"{folder}{volume}p" for volume, folder in artifact_folders(volumes, request).items()]


def artifact_places(request: Mapping[str, Any]) -> list[str]:
    """Every folder of the bucket where a request has artifacts, its own first."""
    own = str(request["artifact_prefix"])
    return list(dict.fromkeys([own, *(str(snapshot.get("artifact_prefix") or own)
                                      for snapshot in request.get("snapshots") or [])]))


def snapshots_in_short(request: Mapping[str, Any]) -> str:
    """The snapshots of a request for a subject line: the first one, and how many more."""
    ids = [str(snapshot["id"]) for snapshot in request["snapshots"]]
    return ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more"


def evidence_in_words(evidence: Mapping[str, Any] | None) -> dict[str, Any]:
    """The evidence volumes for a mail, each partition with what is to be said of its journal; what nobody can look
    into, with the reason; sets that lack members.

    The facts come from an analysis host: where they are quoted, the mail's own filters fold and clean them.
    """
    volumes = [dict(volume) for volume in (evidence or {}).get("volumes") or []]
    second = {(volume["journal_of"], part["number"]): part for volume in volumes if volume["role"] == "journal"
              for part in volume["partitions"]}
    shown, unseen, alone = [], [], sum(volume["role"] == "evidence" for volume in volumes) == 1
    for volume in volumes:
        if volume["role"] == "evidence":
            before = "" if alone else volume["volume_id"]
            parts = [{**part, "note": _journal_note(before + part["name"], part,
                                                    second.get((volume["volume_id"], part["number"])))}
                     for part in volume["partitions"]]
            shown.append({**volume, "partitions": parts})
            unseen += [f"{before}{part['name']}: {part.get('reason') or part['kind']}" for part in parts
                       if part["kind"] in CLOSED]
            unseen += [] if parts else [f"{volume['volume_id']}: it shows no partition, and begins with zeros"]
    notes = [part["note"] for volume in shown for part in volume["partitions"] if part["note"]]
    lacking = [_set_note(found) for found in (evidence or {}).get("sets") or [] if int(found["lacking"]) > 0]
    return {"volumes": shown, "notes": notes, "lacking": lacking, "unseen": unseen}


def _journal_note(name: str, part: Mapping[str, Any], second: Mapping[str, Any] | None) -> str:
    if second is not None and second["mounted"]:
        return (f"The journal of {name} was applied on a second, throw-away volume: {second['mount_point']} shows the "
                "tree with it. The evidence itself was not written.")
    if not part.get("journal_dirty"):
        return ""
    tail = f" On a second volume: {second['reason']}" if second is not None and second["reason"] else ""
    return (f"WARNING: the journal of {name} was not replayed (evidence is never written): the latest changes may be "
            f"missing in the mounted tree.{tail}")


SETS = {"lvm": ("LVM volume group", "physical volumes"), "raid": ("RAID", "members"), "btrfs": ("btrfs", "devices")}


def _set_note(found: Mapping[str, Any]) -> str:
    name, members = SETS.get(str(found["kind"]), ("set", "members"))
    which = ", ".join(str(item) for item in found["missing"])
    return (f"WARNING: {name} {found['id']} is not complete: {found['lacking']} of {found['members']} {members} missing"
            f"{f' ({which})' if which else ''}; {', '.join(found['where'])} alone may not be readable. Name the "
            "snapshots of the instance's other volumes, too (aws_snapshot_id as a list).")


def journals_in_short(summary: Mapping[str, Any] | None) -> list[str]:
    """What only the journals know, by the numbers of `summary.json`: a sentence for each partition that was compared.

    That file was written on the analysis host: only numbers, and names of the form that ours have, get through.
    """
    lines = []
    partitions = (summary or {}).get("partitions")
    for part in partitions[:500] if isinstance(partitions, list) else []:
        steps = part.get("steps") if isinstance(part, Mapping) else None
        changes = steps.get("changes") if isinstance(steps, Mapping) else None
        name = str(part.get("name")) if isinstance(part, Mapping) else ""
        if not isinstance(changes, Mapping) or not re.fullmatch(r"(?:vol-[0-9a-f]{8,17})?p[0-9]{1,3}\.journal", name):
            continue
        counts = {key: changes.get(key) for key in ("new", "changed", "gone", "findings")}
        if all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 10**12
               for count in counts.values()):
            lines.append(f"{name.removesuffix('.journal')}: {counts['new']} files new, {counts['changed']} changed, "
                         f"{counts['gone']} gone, {counts['findings']} findings more")
        else:
            lines.append(f"{name.removesuffix('.journal')}: was not compared")
    return lines


class FilterModule:
    """Filters about evidence volumes."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        named = (evidence_facts, evidence_is_known, journal_wanted, journal_volumes, artifact_folders,
                 artifact_beginnings, artifact_places, snapshots_in_short, evidence_in_words, journals_in_short)
        return {function.__name__: function for function in named}
