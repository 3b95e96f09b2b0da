# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which snapshot an analysis works on. The role `snapshot` asks and acts; the decisions are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils import product_codes

Snapshot = Mapping[str, Any]


def _age(snapshot: Snapshot) -> tuple[str, str]:
    """The older one sorts first; of two from the same second the one with the lower id, on every controller."""
    return str(snapshot.get("start_time") or ""), str(snapshot["snapshot_id"])


def _tags(snapshot: Snapshot) -> Mapping[str, str]:
    return snapshot.get("tags") or {}


def snapshot_refusal(found: Sequence[Snapshot], snapshot_id: str, region: str, attached: bool = True) -> str:
    """Why the source snapshot cannot be used, in one sentence, or an empty string (pitfall 10).

    :param attached: a volume made from it will be attached to a running host.
    """
    if not found:
        return (f"Snapshot {snapshot_id} is not in {region}, or it is not shared with this account: check the id and "
                "the region, or ask its owner to share it.")
    snapshot = found[0]
    state = str(snapshot.get("state") or "unknown")
    if state == "error":
        why = snapshot.get("state_message") or "AWS gives no reason"
        return f"Snapshot {snapshot_id} is in state error ({why}): it cannot be used, take another one."
    if state in ("recoverable", "recovering"):
        return f"Snapshot {snapshot_id} lies in the recycle bin of {region}: restore it there first."
    if state not in ("pending", "completed"):
        return f"Snapshot {snapshot_id} is in state {state}: it cannot be used, take another one."
    if snapshot.get("storage_tier") == "archive":
        return f"Snapshot {snapshot_id} is archived: restore it to the standard tier first, which takes up to 72 hours."
    if snapshot.get("public"):
        return (f"Snapshot {snapshot_id} is public, and anybody can read it: take that back when it is yours "
                f"(aws ec2 reset-snapshot-attribute --region {region} --snapshot-id {snapshot_id} --attribute "
                "createVolumePermission), or copy it into this account and have the copy analyzed.")
    if snapshot.get("outpost_arn"):
        return f"Snapshot {snapshot_id} lies on an Outpost: copy it to the region {region} first."
    if attached and snapshot.get("product_codes"):
        return product_codes.refusal(f"Snapshot {snapshot_id}", list(snapshot["product_codes"]))
    return ""


def choose_snapshot(found: Sequence[Snapshot], copies: Sequence[Snapshot], snapshot_id: str, source_region: str,
                    ) -> dict[str, Any]:
    """Decide between the snapshot itself, an earlier copy of it, and a new copy.

    `found` is what the analysis region has under the id, `copies` what it has under the tags of copies.
    """
    ours = [copy for copy in copies
            if _tags(copy).get("dfir:source-snapshot") == snapshot_id
            and _tags(copy).get("dfir:source-region") == source_region]
    carcasses = sorted(str(copy["snapshot_id"]) for copy in ours if copy.get("state") == "error")
    usable = sorted((copy for copy in ours if copy.get("state") in ("pending", "completed")
                     and copy.get("storage_tier") != "archive"), key=_age)
    if found:
        chosen: Snapshot | None = found[0]
        how = "itself"
    elif usable:
        # A completed copy serves at once; otherwise the oldest one is the one that every other run waits for, too.
        chosen = next((copy for copy in usable if copy["state"] == "completed"), usable[0])
        how = "reuse"
    else:
        chosen, how = None, "copy"
    return {"how": how, "snapshot": dict(chosen) if chosen else {}, "carcasses": carcasses,
            "pending": chosen is not None and chosen.get("state") == "pending"}


def choose_snapshots(sources: Sequence[Mapping[str, str]], found: Sequence[Mapping[str, Any]],
                     copies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`choose_snapshot` for each of several.

    :param sources: the snapshots of a request, with `id` and `region`.
    :param found: what the analysis region has under each id.
    :param copies: what it has under the tags of copies of each. Both are results of loops over `sources`.
    """
    return [{**choose_snapshot(there.get("snapshots") or [], copied.get("snapshots") or [], source["id"],
                               source["region"]),
             "source_id": str(source["id"]), "source_region": str(source["region"]), "started": "", "surplus": "",
             "waiting": ""}
            for source, there, copied in zip(sources, found, copies, strict=True)]


def _source_of(choice: Mapping[str, Any], looked: Sequence[Mapping[str, Any]]) -> list[Snapshot] | None:
    """What a loop over choices saw of the source of one of them; None where it did not look."""
    for result in looked:
        if "snapshots" in result and result["item"]["source_id"] == choice["source_id"]:
            return list(result["snapshots"])
    return None


def snapshot_refusals(choices: Sequence[Mapping[str, Any]], looked: Sequence[Mapping[str, Any]],
                      evidence_by: str = "volume") -> str:
    """Why snapshots cannot be used, a sentence each, or an empty string.

    :param looked: what the source regions have of those that are to be copied: results of a loop over choices.
    :param evidence_by: the request's field. Of V(direct) no volume from a snapshot is attached.
    """
    sentences = []
    for choice in choices:
        source = _source_of(choice, looked)
        seen = ([choice["snapshot"]] if choice["snapshot"] else []) if source is None else source
        sentences.append(snapshot_refusal(seen, choice["source_id"], choice["source_region"],
                                          attached=evidence_by != "direct"))
    return " ".join(sentence for sentence in sentences if sentence)


def snapshot_find_results(choices: Sequence[Mapping[str, Any]], looked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What there is of each snapshot, and how large all volumes are together."""
    each = [snapshot_find_result(choice, _source_of(choice, looked) or [], choice["source_id"], choice["source_region"])
            for choice in choices]
    return {"snapshots": each, "volume_gib": sum(item["volume_gib"] for item in each)}


def copies_settled(choices: Sequence[Mapping[str, Any]], started: Sequence[Mapping[str, Any]] = (),
                   rivals: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The choices after copies were started: whose copy stays, which one is surplus, and which one to wait for.

    :param started: results of a loop over the choices that had to be copied.
    :param rivals: what there is now under the tags of each copy that was started: results of a loop over those.
    """
    mine = {str(result["item"]["source_id"]): str(result["snapshot_id"]) for result in started
            if result.get("snapshot_id")}
    others = {str(result["item"]["item"]["source_id"]): result["snapshots"] for result in rivals}
    settled = []
    for choice in choices:
        source, made = choice["source_id"], dict(choice)
        if source in mine:
            winner = winning_copy(others[source], mine[source])
            made.update(surplus=winner["surplus"], started="" if winner["surplus"] else mine[source])
            if winner["surplus"]:
                made.update(choose_snapshot([], others[source], source, choice["source_region"]))
        pending = str(made["snapshot"].get("snapshot_id", "")) if made["pending"] else ""
        settled.append({**made, "waiting": made["started"] or pending})
    return settled


def snapshot_results(choices: Sequence[Mapping[str, Any]], waited: Sequence[Mapping[str, Any]], region: str,
                     ) -> dict[str, Any]:
    """What role `snapshot` hands on of all snapshots, and how large all volumes are together.

    :param waited: what waiting brought: results of a loop over the choices that had to be waited for.
    """
    brought = {str(result["item"]["source_id"]): result["snapshot"] for result in waited if result.get("snapshot")}
    each = [snapshot_result(brought.get(choice["source_id"]) or choice["snapshot"], choice, choice["source_id"],
                            choice["source_region"], region, choice["started"]) for choice in choices]
    return {"snapshots": each, "volume_gib": sum(item["volume_gib"] for item in each)}


def snapshot_find_result(choice: Mapping[str, Any], source: Sequence[Snapshot], source_id: str, source_region: str,
                         ) -> dict[str, Any]:
    """What is there of a snapshot: it can be used itself, an earlier copy can be, or `source` has to be copied.

    `full_bytes` is what AWS says about its written data, None where it does not say (old snapshots). `codes_known` says
    whether its Marketplace product codes could be looked at: AWS shows them to the owner alone.
    """
    snapshot: Snapshot = choice["snapshot"] or source[0]
    # A copy that was just started may not know it yet, its source does.
    full = next((item["full_snapshot_size_in_bytes"] for item in (snapshot, *source)
                 if item.get("full_snapshot_size_in_bytes") is not None), None)
    return {
        "how": choice["how"], "id": str(snapshot["snapshot_id"]), "volume_gib": int(snapshot["volume_size"]),
        "full_bytes": None if full is None else int(full), "pending": snapshot.get("state") == "pending",
        "codes_known": (source[0] if source else snapshot).get("product_codes") is not None,
        "source_id": source_id, "source_region": source_region,
    }


def winning_copy(copies: Sequence[Snapshot], mine: str) -> dict[str, Any]:
    """Of copies that raced the oldest wins. `surplus` is the copy of ours that lost, or an empty string."""
    alive = sorted((copy for copy in copies if copy.get("state") in ("pending", "completed")), key=_age)
    # Not listed yet: its age is unknown. Giving it up now, while the other run does the same, would leave none.
    listed = any(copy["snapshot_id"] == mine for copy in copies)
    winner = str(alive[0]["snapshot_id"]) if alive and listed else mine
    return {"snapshot_id": winner, "surplus": "" if winner == mine else mine}


def later_expiry(snapshot: Snapshot, expires: str) -> str:
    """The new value of `dfir:expires` when it has to be raised, else an empty string. Never shortens a life."""
    known = str(_tags(snapshot).get("dfir:expires") or "")
    return expires if _tags(snapshot).get("dfir:source-snapshot") and expires > known else ""


def snapshot_result(snapshot: Snapshot, choice: Mapping[str, Any], source_id: str, source_region: str, region: str,
                    started: str = "") -> dict[str, Any]:
    """What role `snapshot` hands on. `snapshot` is as ec2_snapshot_info or DescribeSnapshots spells it."""

    def value(snake: str, camel: str, default: Any) -> Any:
        given = snapshot.get(snake, snapshot.get(camel))
        return default if given is None else given

    return {
        "id": value("snapshot_id", "SnapshotId", ""), "region": region,
        "volume_gib": int(value("volume_size", "VolumeSize", 0)),
        "encrypted": bool(value("encrypted", "Encrypted", False)),
        "kms_key_id": value("kms_key_id", "KmsKeyId", ""), "owner_id": value("owner_id", "OwnerId", ""),
        "source_id": source_id, "source_region": source_region,
        "copied": choice.get("how") == "copy" and bool(started), "reused": choice.get("how") == "reuse",
        "started": started,
    }


class FilterModule:
    """Filters of the role `snapshot`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "choose_snapshots": choose_snapshots,
            "snapshot_refusals": snapshot_refusals,
            "snapshot_find_results": snapshot_find_results,
            "copies_settled": copies_settled,
            "later_expiry": later_expiry,
            "snapshot_results": snapshot_results,
        }
