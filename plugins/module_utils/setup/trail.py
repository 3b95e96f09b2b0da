# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A trail of who read which snapshot by EBS direct: data events, which CloudTrail keeps only when it is asked to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .bucket import Bucket
from .documents import Documents, short
from .steps import (
    CREATE,
    KEEP,
    REFUSE,
    REMOVE,
    STAY,
    TAG,
    TAG_VALUE,
    Site,
    Step,
    managed,
    our_tags,
    same,
    tags_of,
    unless,
)

PART, POLICY = "trail", "trail-bucket-policy.json"
NONE = ("TrailNotFoundException",)
PRICED = "0.10 for 100,000 events: 0.002 for each GB that is read"
# Data events alone: a second copy of management events would cost 2.00 for 100,000.
SELECTORS = [{"Name": "EBS direct APIs", "FieldSelectors": [
    {"Field": "eventCategory", "Equals": ["Data"]}, {"Field": "resources.type", "Equals": ["AWS::EC2::Snapshot"]}]}]


def _document(site: Site, documents: Documents, name: str, bucket: str, region: str) -> dict[str, Any]:
    """The policy of the bucket that CloudTrail writes to, which must exist before the trail."""
    text = short(documents.read(POLICY)).replace("TRAIL_BUCKET", bucket)
    text = text.replace("TRAIL_ARN", f"arn:{site.partition}:cloudtrail:{region}:{site.account}:trail/{name}")
    found: dict[str, Any] = json.loads(text)
    return found


def present(site: Site, documents: Documents, name: str, bucket: str, region: str) -> Iterator[Step]:
    """The trail's bucket and the trail, as they should be."""
    s3, cloudtrail = site.client("s3", region), site.client("cloudtrail", region)
    store, policy = Bucket(s3, bucket, region), _document(site, documents, name, bucket, region)
    thing, state = f"bucket {bucket}", store.state()

    def allow() -> None:
        s3.put_bucket_policy(Bucket=bucket, Policy=short(policy))

    def create_store() -> None:
        store.create()
        allow()

    if state == "missing":
        yield Step(PART, thing, CREATE, f"in {region}, for the trail", priced="0.023 a GB-month", act=create_store)
    elif state == "foreign":
        yield Step(PART, thing, REFUSE, f"is another account's, or lies in another region than {region}")
    else:
        now = store.policy()
        differs = [] if now is not None and same(now, policy) else ["its policy"]
        yield managed(site, PART, thing, TAG in store.tags(), differs, store.tag, allow, priced="0.023 a GB-month")
    yield _trail(site, cloudtrail, name, bucket, region)


def _trail(site: Site, cloudtrail: Any, name: str, bucket: str, region: str) -> Step:
    thing, detail = f"trail {name}", "data events of EBS direct, all regions"
    told = unless(NONE, lambda: cloudtrail.get_trail(Name=name))

    def select() -> None:
        cloudtrail.put_event_selectors(TrailName=name, AdvancedEventSelectors=SELECTORS)

    if told is None:
        def create() -> None:
            cloudtrail.create_trail(Name=name, S3BucketName=bucket, IsMultiRegionTrail=True,
                                    IncludeGlobalServiceEvents=True, EnableLogFileValidation=True, TagsList=our_tags())
            select()
            cloudtrail.start_logging(Name=name)

        return Step(PART, thing, CREATE, detail, priced=PRICED, act=create)
    trail, differs = told["Trail"], []
    if cloudtrail.get_event_selectors(TrailName=name).get("AdvancedEventSelectors") != SELECTORS:
        differs.append("other events")
    if trail.get("S3BucketName") != bucket or not trail.get("IsMultiRegionTrail") or \
            not trail.get("LogFileValidationEnabled"):
        differs.append("other settings")
    if not cloudtrail.get_trail_status(Name=name)["IsLogging"]:
        differs.append("off")

    def change() -> None:
        if "other settings" in differs:
            cloudtrail.update_trail(Name=name, S3BucketName=bucket, IsMultiRegionTrail=True,
                                    IncludeGlobalServiceEvents=True, EnableLogFileValidation=True)
        if "other events" in differs:
            select()
        if "off" in differs:
            cloudtrail.start_logging(Name=name)

    return managed(site, PART, thing, TAG in _tags(cloudtrail, trail["TrailARN"]), differs,
                   lambda: cloudtrail.add_tags(ResourceId=trail["TrailARN"], TagsList=our_tags()), change,
                   priced=PRICED, how=f"aws cloudtrail add-tags --region {region} --resource-id {trail['TrailARN']} "
                                      f"--tags-list Key={TAG},Value={TAG_VALUE}")


def _tags(cloudtrail: Any, arn: str) -> dict[str, str]:
    listed = cloudtrail.list_tags(ResourceIdList=[arn])["ResourceTagList"]
    return tags_of(listed[0]["TagsList"]) if listed else {}


def absent(site: Site, name: str, bucket: str, region: str) -> Iterator[Step]:
    """The trail goes when it is ours; what it has written stays."""
    cloudtrail = site.client("cloudtrail", region)
    told, thing = unless(NONE, lambda: cloudtrail.get_trail(Name=name)), f"trail {name}"
    if told is None:
        yield Step(PART, thing, KEEP, "is not there")
    elif TAG not in _tags(cloudtrail, told["Trail"]["TrailARN"]):
        yield Step(PART, thing, STAY, f"not ours: no tag {TAG}")
    else:
        yield Step(PART, thing, REMOVE, act=lambda: cloudtrail.delete_trail(Name=name))
    yield Bucket(site.client("s3", region), bucket, region).removal(PART)
