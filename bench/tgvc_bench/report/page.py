"""One HTML file with everything in it, and the Markdown and JSON beside it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError
from tgvc_bench.records import write_record
from tgvc_bench.report.content import gather
from tgvc_bench.report.markdown import format_report
from tgvc_bench.report.media import EMBEDDED_BYTES, embed_or_name, find_videos, read_tracks
from tgvc_bench.report.record import read_evaluation
from tgvc_bench.report.references import check_reference, read_references

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = (  # one scope; each uses what stands before it
    "dom.js", "data.js", "axes.js", "chart.js", "curves.js", "matrix.js", "table.js", "layers.js",
    "player.js", "stage.js", "frames.js", "published.js", "page.js",
)  # fmt: skip


def write_report(
    record_path: Path, output_html: Path, media: Path | None = None, *, embedded_bytes: int = EMBEDDED_BYTES
) -> Path:
    """Write the page of a record, and beside it ``NAME.md`` and ``NAME.numbers.json``.

    Args:
        record_path: JSON file of `tgvc eval`.
        output_html: the page.
        media: folder of videos and trajectories; None = ``media`` beside the record, if there is one.
        embedded_bytes: videos are embedded if all together have at most so many bytes, else the page names them.

    Returns:
        ``output_html``.

    Raises:
        ConfigError: the record, a file of trajectories or the name of the page does not fit.
    """
    record_path, output_html = Path(record_path), Path(output_html)
    page, tables, numbers = list_files(output_html)
    record = read_evaluation(record_path)
    documents = record.get("published") or read_references()
    for document in documents:
        check_reference(document)
    content = gather(record, documents)
    folder = Path(media) if media else record_path.parent / "media"
    videos, payloads = embed_or_name(find_videos(record, folder), output_html, embedded_bytes)
    shown = {
        **content,
        "frames": [e.get("frames", {}) for e in record["entries"]],
        "media": videos,
        "tracks": read_tracks(record, folder),
    }
    _write_text(page, assemble(shown, payloads))
    _write_text(tables, format_report(content))
    write_record(numbers, content)
    return output_html


def list_files(output_html: Path) -> tuple[Path, Path, Path]:
    """The page, its Markdown and its JSON.

    Raises:
        ConfigError: the page has no name of a page, so that what it is made of might be overwritten.
    """
    if output_html.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{output_html}: expected a name that ends in .html")
    return output_html, output_html.with_suffix(".md"), output_html.with_suffix(".numbers.json")


def assemble(shown: dict[str, Any], payloads: list[str]) -> str:
    """The text of the page.

    Nothing in it is fetched, and nothing but its own script runs, by a policy inside the page; so a name in a record
    that looks like markup stays a name twice over, as it is escaped as well.

    Args:
        shown: what the script draws.
        payloads: embedded files in base64.
    """
    style = (ASSETS / "page.css").read_text()
    body = "\n".join((ASSETS / name).read_text() for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{body}\n}})();\n'
    policy = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "data:",
        "media-src": "blob: 'self' file:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    parts = {
        "policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "title": html.escape(f"{shown['title']} · tgvc"),
        "style": style,
        "data": escape_json(shown),
        "payloads": "\n".join(
            f'<script type="text/plain" id="media-{n}">{text}</script>' for n, text in enumerate(payloads)
        ),
        "script": script,
    }
    page = (ASSETS / "page.html").read_text()
    pieces = page.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:  # one pass: what is filled in is never looked at again
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def escape_json(value: Any) -> str:
    """JSON that can stand inside a script element: no character that could end it, or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
