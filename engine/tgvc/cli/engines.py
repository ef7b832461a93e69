"""The commands ``tgvc engines list`` and ``tgvc engines clean``: what was built for the GPUs of this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from tgvc.cli.process import CommandLine

if TYPE_CHECKING:
    from tgvc.backends.engines.store import Entry

_GB = 1e9
_DAY_S = 86400.0


@click.group(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExamples:\n  tgvc engines list\n  tgvc engines clean --days 30",
)
def engines() -> None:
    """Show or remove engines that TensorRT built for this machine.

    They are made when they are first needed, or by `tgvc export BUNDLE --tensorrt`, and can always be made again.
    """


@engines.command(
    "list", epilog="\b\nExamples:\n  tgvc engines list\n  tgvc engines list --json | jq '.engines[].bytes'"
)
@click.option("--json", "as_json", is_flag=True, help="Everything known, as JSON.")
def list_engines(as_json: bool) -> None:
    """List engines, those that would be refused too; what was used last comes first."""
    from tgvc.backends.engines.store import EngineStore
    from tgvc.cli.tables import print_json, print_lines

    store = EngineStore()
    found = list(store.entries())
    if as_json:
        told = [{"key": e.key, "bytes": e.size, "used": e.used, "fault": e.fault, **e.about} for e in found]
        print_json({"folder": str(store.folder), "capacity": store.capacity, "engines": told})
        return
    rows = [("refused" if e.fault else str(e.about.get("kind", "")), _describe(e)) for e in found]
    size = sum(e.size for e in found)
    total = f"{len(found)} entries, {size / _GB:.2f} GB of at most {store.capacity / _GB:.0f}, in {store.folder}"
    print_lines([*rows, ("all", total)])


@engines.command(epilog="\b\nExamples:\n  tgvc engines clean\n  tgvc engines clean --gb 4\n  tgvc engines clean --all")
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
@click.option("--net", metavar="NAME", help="Remove those of one network, such as unet.")
@click.option("--gb", type=click.FloatRange(min=0), metavar="N", help="Keep N GB at most: what was used last.")
@click.option("--days", type=click.FloatRange(min=0), metavar="N", help="Remove what was not used for N days.")
def clean(everything: bool, net: str | None, gb: float | None, days: float | None) -> None:
    """Remove engines: without options those that would be refused, and leftovers of builds that ended early.

    Every file is read to find the former. What is being built or written just now stays.
    """
    from tgvc.backends.engines.store import EngineStore

    store, now = EngineStore(), time.time()

    def asked(entry: Entry) -> bool:
        old = days is not None and now - entry.used > days * _DAY_S
        return everything or old or (net is not None and entry.about.get("net") == net)

    chosen = [entry for entry in store.entries() if asked(entry)]
    dropped = [entry for entry in chosen if store.drop(entry.key)]
    held = len(chosen) - len(dropped)
    left = store.drop_leftovers()
    dropped += store.drop_refused()
    if gb is not None:
        dropped += store.shrink(int(gb * _GB))
    size = sum(entry.size for entry in dropped)
    click.echo(f"{'removed':<9} {size / _GB:.2f} GB and {left} leftovers from {store.folder}")
    if held:
        click.echo(f"{'kept':<9} {held} in use")


def _describe(entry: Any) -> str:
    about = entry.about
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in (about.get("shapes") or {}).items())
    gpu = " ".join(filter(None, [about.get("gpu"), about.get("architecture")])) or ", ".join(about.get("targets") or ())
    parts = [about.get("net"), shapes, f"for {gpu}" if gpu else "", about.get("library"), f"{entry.size / 1e6:.1f} MB"]
    return ", ".join(filter(None, parts)) + (f": {entry.fault}" if entry.fault else "")
