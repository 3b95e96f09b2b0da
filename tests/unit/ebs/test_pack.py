# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packing and unpacking: nothing that was tampered with ever leaves a file that looks whole."""

from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import os
import random
import resource
import signal
from pathlib import Path

import pyrage
import pytest
import zstandard
from ansible_collections.dfir.aws.plugins.module_utils.ebs import errors, pack

pytestmark = pytest.mark.slow

MIB = 1 << 20
CHUNK = (64 << 10) + 16  # of an age stream: 64 KiB and their tag


class Keys:
    """An identity and the file that it lies in."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.identity = pyrage.x25519.Identity.generate()
        self.recipient = str(self.identity.to_public())
        self.file = folder / "key.txt"
        self.file.write_text(f"# made for a test\n{self.identity}\n")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Something that does not compress, a hole, something that does, a hole at the end."""
    path = tmp_path / "disk.raw"
    noise = random.Random(5).randbytes(700_001)
    with path.open("wb") as file:
        file.write(noise)
        file.seek(20 * MIB)
        file.write(b"evidence " * 50_000)
        file.truncate(40 * MIB + 12_345)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def packed(source: Path, keys: Keys, **more: object) -> Path:
    return pack.pack(source, recipients=[keys.recipient], **more).path  # type: ignore[arg-type]


@pytest.mark.parametrize(("compression", "name"), [("zstd", "disk.raw.zst.age"), ("gzip", "disk.raw.gz.age"),
                                                   ("none", "disk.raw.age")])  # fmt: skip
def test_what_is_unpacked_is_what_was_packed(source: Path, keys: Keys, compression: str, name: str) -> None:
    result = pack.pack(source, recipients=[keys.recipient], compression=compression)
    assert result.changed and result.path == source.with_name(name)
    record = result.record
    assert record.plain_sha256 == sha256(source) and record.plain_size == source.stat().st_size
    assert record.packed_sha256 == sha256(result.path) and record.packed_size == result.path.stat().st_size
    back = source.with_name("back.raw")
    found = pack.unpack(result.path, back, identity_files=[keys.file])
    assert back.read_bytes() == source.read_bytes() and found.sha256 == sha256(source)
    if compression != "none":
        assert record.packed_size < 2 * MIB
    assert back.stat().st_blocks * 512 < 4 * MIB, "holes stay holes"
    assert not [path for path in names(source.parent) if path.endswith(".partial")]


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, (64 << 10), (64 << 10) + 1])
def test_every_size_comes_back(tmp_path: Path, keys: Keys, size: int) -> None:
    source = tmp_path / "f"
    source.write_bytes(os.urandom(size))
    pack.unpack(packed(source, keys), tmp_path / "back", identity_files=[keys.file])
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_other_tools_read_it(source: Path, keys: Keys) -> None:
    """The format is age around zstd or gzip, nothing of our own."""
    plain = pyrage.decrypt(packed(source, keys).read_bytes(), [keys.identity])
    assert zstandard.ZstdDecompressor().decompressobj().decompress(plain) == source.read_bytes()
    plain = pyrage.decrypt(packed(source, keys, compression="gzip").read_bytes(), [keys.identity])
    assert gzip.decompress(plain) == source.read_bytes()


def test_several_recipients_can_each_open_it(source: Path, keys: Keys, tmp_path: Path) -> None:
    other = Keys(tmp_path / "other")
    path = pack.pack(source, recipients=[keys.recipient, other.recipient]).path
    for number, key in enumerate((keys, other)):
        pack.unpack(path, tmp_path / f"back{number}", identity_files=[key.file])


def refuses(path: Path, identity: Path, said: str | None = None) -> None:
    """Unpacking fails, and leaves neither the file nor anything that could be taken for it."""
    back = path.with_name("back.raw")
    before = names(path.parent)
    with pytest.raises((errors.Mismatch, errors.SegmentError, errors.BadInput), match=said):
        pack.unpack(path, back, identity_files=[identity])
    assert names(path.parent) == before


def test_one_changed_byte_anywhere_is_refused(source: Path, keys: Keys) -> None:
    path = packed(source, keys)
    good = path.read_bytes()
    header = good.index(b"\n", good.index(b"\n--- ") + 1)
    first = header + 1 + 16  # behind the header come 16 bytes of nonce, then the chunks
    places = {0, 5, 25, header - 3, header + 3, first, first + 1000, first + CHUNK - 1, first + CHUNK, len(good) - 1}
    places |= set(random.Random(7).sample(range(len(good)), 15))
    for place in sorted(places):
        bad = bytearray(good)
        bad[place] ^= 1
        path.write_bytes(bad)
        refuses(path, keys.file)


def test_a_cut_is_refused_wherever_it_is(source: Path, keys: Keys) -> None:
    path = packed(source, keys)
    good = path.read_bytes()
    first = good.index(b"\n", good.index(b"\n--- ") + 1) + 1 + 16
    for length in (0, 10, first - 20, first, first + 1, first + CHUNK - 1, first + CHUNK, first + 2 * CHUNK,
                   len(good) - 17, len(good) - 1):  # fmt: skip
        path.write_bytes(good[:length])
        refuses(path, keys.file)


def test_chunks_that_were_swapped_repeated_or_added_are_refused(source: Path, keys: Keys) -> None:
    path = packed(source, keys)
    good = path.read_bytes()
    first = good.index(b"\n", good.index(b"\n--- ") + 1) + 1 + 16
    head, one, two, rest = good[:first], good[first:][:CHUNK], good[first + CHUNK :][:CHUNK], good[first + 2 * CHUNK :]
    last = good[first + (len(good) - first - 1) // CHUNK * CHUNK :]
    for bad in (head + two + one + rest, head + one + one + two + rest, head + one + rest, good + b"x", good + last):
        path.write_bytes(bad)
        refuses(path, keys.file)


def test_another_key_does_not_open_it(source: Path, keys: Keys, tmp_path: Path) -> None:
    refuses(packed(source, keys), Keys(tmp_path / "other").file, "another identity")


@pytest.mark.parametrize("inner", [b"", b"no stream at all", "cut", "more", "twice"])
@pytest.mark.parametrize("kind", ["zstd", "gzip"])
def test_a_content_that_is_no_whole_stream_is_refused(tmp_path: Path, keys: Keys, kind: str, inner: object) -> None:
    """Somebody encrypted it well, but what is inside is cut, or something follows it."""
    text = b"evidence" * 1000
    whole = gzip.compress(text) if kind == "gzip" else zstandard.ZstdCompressor(write_checksum=True).compress(text)
    made = {"cut": whole[:-2], "more": whole + b"x", "twice": whole + whole}
    content = made[inner] if isinstance(inner, str) else inner
    path = tmp_path / ("f.gz.age" if kind == "gzip" else "f.zst.age")
    path.write_bytes(pyrage.encrypt(content, [keys.identity.to_public()]))
    refuses(path, keys.file, f"no whole {kind} stream")


def test_another_file_for_the_same_recipient_is_told_by_its_sha256(source: Path, keys: Keys, tmp_path: Path) -> None:
    """Anybody can encrypt for a recipient: that it decrypts does not say who packed it."""
    forged = tmp_path / "forged.zst.age"
    forged.write_bytes(pyrage.encrypt(zstandard.compress(b"forged"), [keys.identity.to_public()]))
    back = tmp_path / "back"
    with pytest.raises(errors.Mismatch, match="SHA-256"):
        pack.unpack(forged, back, identity_files=[keys.file], expect_sha256=sha256(source))
    assert not back.exists() and "back.partial" not in names(tmp_path)
    record = Path(f"{packed(source, keys)}.json")
    Path(f"{forged}.json").write_bytes(record.read_bytes())
    refuses(forged, keys.file, "SHA-256")


def test_what_is_there_is_not_made_again_and_never_replaced(source: Path, keys: Keys) -> None:
    path = packed(source, keys)
    before = path.read_bytes()
    assert pack.pack(source, recipients=[keys.recipient]).changed is False and path.read_bytes() == before
    back = source.with_name("back.raw")
    assert pack.unpack(path, back, identity_files=[keys.file]).changed
    assert pack.unpack(path, back, identity_files=[keys.file]).changed is False
    back.write_bytes(b"mine")
    with pytest.raises(errors.BadInput, match="another SHA-256"):
        pack.unpack(path, back, identity_files=[keys.file])
    source.write_bytes(b"something else")
    with pytest.raises(errors.BadInput, match="exists already"):
        pack.pack(source, recipients=[keys.recipient])
    assert path.read_bytes() == before and back.read_bytes() == b"mine"


def test_an_image_that_is_not_what_its_manifest_says_is_not_packed(source: Path, keys: Keys) -> None:
    with pytest.raises(errors.Mismatch, match="SHA-256"):
        pack.pack(source, recipients=[keys.recipient], expect_sha256="0" * 64)
    assert names(source.parent) == ["disk.raw"]


def test_a_source_that_changes_meanwhile_is_not_packed(source: Path, keys: Keys) -> None:
    asked = []

    def stop() -> bool:
        asked.append(1)
        if len(asked) == 3:
            with source.open("r+b") as file:
                file.write(b"late")
        return False

    with pytest.raises(errors.Mismatch, match="changed while"):
        pack.pack(source, recipients=[keys.recipient], stop=stop)
    assert names(source.parent) == ["disk.raw"]


@pytest.mark.parametrize("work", ["pack", "unpack"])
def test_whoever_cancels_finds_nothing_half_done(source: Path, keys: Keys, work: str) -> None:
    path = packed(source, keys)
    before = names(source.parent)
    with pytest.raises(errors.Cancelled):
        if work == "pack":
            pack.pack(source, source.with_name("other.age"), recipients=[keys.recipient], stop=lambda: True)
        else:
            pack.unpack(path, source.with_name("back"), identity_files=[keys.file], stop=lambda: True)
    assert names(source.parent) == before


def _pack_with_little_room(source: Path, recipient: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))
    try:
        pack.pack(source, recipients=[recipient])
    except errors.SinkError:
        os._exit(3)
    os._exit(0)


def test_a_target_that_takes_no_more_is_said_and_nothing_is_left(source: Path, keys: Keys) -> None:
    child = multiprocessing.get_context("fork").Process(target=_pack_with_little_room, args=(source, keys.recipient))
    child.start()
    child.join(60)
    assert child.exitcode == 3 and names(source.parent) == ["disk.raw"]


@pytest.mark.parametrize(("more", "said"), [
    ({"recipients": ["age1nonsense"]}, "no recipient"),
    ({"recipients": []}, "either recipients or a passphrase"),
    ({"passphrase": "both of them"}, "either recipients or a passphrase"),
    ({"compression": "rar"}, "no compression"),
    ({"level": 40}, "level"),
])  # fmt: skip
def test_a_wrong_wish_is_refused_before_anything_is_created(
    source: Path, keys: Keys, more: dict[str, object], said: str
) -> None:
    with pytest.raises(errors.BadInput, match=said):
        pack.pack(source, **({"recipients": [keys.recipient]} | more))  # type: ignore[arg-type]
    assert names(source.parent) == ["disk.raw"]


def test_identities_that_are_none_are_refused(source: Path, keys: Keys, tmp_path: Path) -> None:
    path = packed(source, keys)
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("AGE-SECRET-KEY-NOT\n")
    refuses(path, wrong, "no identity")
    refuses(path, tmp_path / "absent.txt", "cannot be read")


def test_a_passphrase_protects_an_identity_that_opens_the_file(tmp_path: Path) -> None:
    """One test for all of it: the library takes seconds for each look at a passphrase."""
    source, back = tmp_path / "f", tmp_path / "back"
    source.write_bytes(b"evidence" * 100_000)
    result = pack.pack(source, passphrase="correct horse battery")
    identity = tmp_path / "f.zst.age.identity"
    assert result.record.identity_file == identity.name and result.record.recipients == []
    assert b"AGE-SECRET" not in identity.read_bytes() + Path(f"{result.path}.json").read_bytes()
    refuses(result.path, identity, "give its passphrase")
    with pytest.raises(errors.BadInput, match="does not open"):
        pack.unpack(result.path, back, passphrase="wrong horse battery")
    assert not back.exists()
    assert pack.unpack(result.path, back, passphrase="correct horse battery").sha256 == sha256(source)
    assert back.read_bytes() == source.read_bytes()
    other = tmp_path / "g"
    other.write_bytes(b"")
    with pytest.raises(errors.BadInput, match="too short"):
        pack.pack(other, passphrase="short")
