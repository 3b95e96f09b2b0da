# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data partition as it was before the incident: a shop in PHP, a blog, a database, logs, backups."""

from __future__ import annotations

import gzip
import random

from lab.evidence import story
from lab.evidence.tree import SECOND, Tree, at

WWW = 33
DEPLOY = 1001
MODULES = ("Cart", "Catalog", "Customer", "Invoice", "Mailer", "Order", "Payment", "Search", "Shipping", "Tax", "User",
           "Voucher", "Report", "Router", "Template", "Logger", "Database", "Locale")

CLASS = """\
<?php
declare(strict_types=1);

namespace Shop\\{folder};

/** {name}: part {part}. */
final class {name}{part}
{{
    public function __construct(private \\PDO $db) {{}}

    public function find(int $id): ?array
    {{
        $query = $this->db->prepare('SELECT * FROM {table} WHERE id = ? AND part = {part}');
        $query->execute([$id]);
        return $query->fetch(\\PDO::FETCH_ASSOC) ?: null;
    }}
}}
"""

# Ordinary code that looks a little like what a web shell does.
THUMBNAILER = """\
<?php
declare(strict_types=1);

namespace Shop\\Image;

/** Makes thumbnails with ImageMagick; the names come from the database, and are quoted all the same. */
function thumbnail(string $source, int $width): string
{
    $target = sys_get_temp_dir() . '/' . sha1($source . $width) . '.jpg';
    exec('convert ' . escapeshellarg($source) . ' -resize ' . $width . ' ' . escapeshellarg($target), $output, $status);
    if ($status !== 0) {
        throw new \\RuntimeException('convert failed: ' . implode("\\n", $output));
    }
    return $target;
}
"""

MAIL_PARSER = """\
<?php
declare(strict_types=1);

namespace Shop\\Mail;

function attachment(array $part): string
{
    return $part['encoding'] === 'base64' ? (string) base64_decode($part['body'], true) : $part['body'];
}
"""

BLOG_POST = """\
<article><h1>What is cryptojacking?</h1>
<p>Intruders like to earn money with other people's processors. Their favorite is a renamed copy of XMRig, which mines
Monero. If a server's fan never rests, look for connections to a mining pool: its address often starts with
<code>stratum+tcp://</code>.</p></article>
"""


def make() -> Tree:
    """The tree; its root is what the server mounts on /srv."""
    tree = Tree()
    chance = random.Random("data")  # noqa: S311 - the same content every time
    tree.folder("/", b=story.CONFIGURED)
    for path in ("/www", "/www/shop", "/www/shop/lib", "/www/shop/bin", "/www/shop/public", "/www/shop/public/assets"):
        tree.folder(path, uid=DEPLOY, gid=WWW, b=story.CONFIGURED)
    for path in ("/www/shop/lib/Cache", "/www/shop/public/assets/img"):  # PHP writes there
        tree.folder(path, mode=0o775, uid=DEPLOY, gid=WWW, b=story.CONFIGURED)
    _shop(tree, chance)
    _blog(tree)
    _database(tree, chance)
    _logs(tree, chance)
    return tree


def _shop(tree: Tree, chance: random.Random) -> None:
    def add(path: str, text: str | bytes) -> None:
        tree.file(f"/www/shop/{path}", text, m=story.RELEASED + chance.randrange(50 * SECOND), uid=DEPLOY, gid=WWW)

    for name in MODULES:
        for part in range(1, 9):
            add(f"lib/{name}/{name}{part}.php", CLASS.format(folder=name, name=name, part=part, table=name.lower()))
    add("lib/Image/thumbnail.php", THUMBNAILER)
    add("lib/Mail/parser.php", MAIL_PARSER)
    add("lib/Cache/Memory.php", CLASS.format(folder="Cache", name="Memory", part=1, table="cache"))
    for name in ("cron", "worker", "report"):
        add(f"bin/{name}.php", f"<?php\nrequire __DIR__ . '/../lib/Router/Router1.php';\n// {name}\n")
    for name in ("index", "product", "category", "cart", "search", "admin/login", "admin/media"):
        add(f"public/{name}.php",
            f"<?php\nrequire '/srv/www/shop/lib/Router/Router1.php';\n(new App('{name}'))->run();\n")
    add("public/assets/css/site.css", "body { font-family: sans-serif; margin: 0 auto; max-width: 60rem }\n" * 20)
    add("public/assets/js/shop.js",
        "document.querySelectorAll('.buy').forEach(b => b.onclick = () => cart(b.id))\n" * 30)
    for number in range(1, 60):
        jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + chance.randbytes(chance.randrange(9000, 40000)) + b"\xff\xd9"
        add(f"public/assets/img/p{number}.jpg", jpeg)


def _blog(tree: Tree) -> None:
    tree.file("/www/blog/2026/cryptojacking.html", BLOG_POST, m=at("2026-05-19 08:40:00"), uid=DEPLOY, gid=WWW)
    for number in range(1, 13):
        tree.file(f"/www/blog/2026/offer-{number:02d}.html", f"<article><h1>Offer {number}</h1></article>\n",
                  m=at(f"2026-06-{number:02d} 09:00:00"), uid=DEPLOY, gid=WWW)


def _database(tree: Tree, chance: random.Random) -> None:
    tree.folder("/db/shop_db", mode=0o700, uid=110, gid=115, b=story.CONFIGURED)
    for name in MODULES:
        pages = b"".join(chance.randbytes(2048) + bytes(14336) for _ in range(24))
        tree.file(f"/db/shop_db/{name.lower()}.ibd", pages, m=story.SNAPSHOT - chance.randrange(3000 * SECOND),
                  b=story.CONFIGURED, mode=0o660, uid=110, gid=115)
    for day in range(7, 15):
        dump = gzip.compress(chance.randbytes(180_000), mtime=0)
        tree.file(f"/backup/shop_db-2026-09-{day:02d}.sql.gz", dump, m=at(f"2026-09-{day:02d} 02:15:41"), mode=0o600)


def _logs(tree: Tree, chance: random.Random) -> None:
    lines = []
    for number in range(6000):
        moment = at("2026-09-06 00:00:10") + number * 118 * SECOND
        if moment > story.SNAPSHOT:
            break
        stamp = moment // SECOND
        lines.append(f"{stamp} INFO order={chance.randrange(10**6)} customer={chance.randrange(10**4)} paid\n")
    tree.file("/logs/shop/app.log", "".join(lines), m=story.SNAPSHOT - 40 * SECOND, b=story.LOGS_FROM, uid=DEPLOY,
              gid=WWW)
