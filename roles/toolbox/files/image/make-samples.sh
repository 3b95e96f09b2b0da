#!/bin/sh
# Make the small disks on which `dfir-forensics validate` proves the tools: one ext4 with a deleted file, one XFS.
# Usage: make-samples.sh SAMPLES_FOLDER TARGET_FOLDER (root is not needed, nothing is mounted)
set -eu
samples=$1
target=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$target" "$work/tree/etc"
cp "$samples/known.txt" "$work/tree/etc/known.txt"
cp "$samples/dropped.sh" "$work/tree/dropped.sh"
cp "$samples/syslog" "$samples/known.txt" "$samples/dropped.sh" "$samples/hit.txt" "$target/"

truncate -s 4M "$work/sample.ext4"
mke2fs -q -t ext4 -O ^has_journal -U 64666972-0000-4000-8000-000000000001 -d "$work/tree" "$work/sample.ext4"
debugfs -w -R "rm /dropped.sh" "$work/sample.ext4" 2>/dev/null
gzip -9n -c "$work/sample.ext4" > "$target/sample.ext4.gz"

# A prototype file is how mkfs.xfs fills a file system without mounting it.
cat > "$work/proto" <<PROTO
/
0 0
d--755 0 0
etc d--755 0 0
known.txt ---644 0 0 $samples/known.txt
\$
\$
PROTO
truncate -s 16M "$work/sample.xfs"
# Unsupported: smaller than what one would use; it is only read back here.
mkfs.xfs --unsupported -q -m uuid=64666972-0000-4000-8000-000000000002 -p "$work/proto" "$work/sample.xfs"
gzip -9n -c "$work/sample.xfs" > "$target/sample.xfs.gz"
ls -l "$target"
