"""One slice in a process of its own: a line of JSON per row on standard output, as soon as it is there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tgvc.errors import TgvcError
from tgvc_bench.gpu.sizes import DRY, FULL
from tgvc_bench.gpu.slices import list_slices


def work(name: str, folder: Path, dry: bool, have: frozenset[str]) -> int:
    """Run a slice; the exit status."""
    sizes = DRY if dry else FULL
    chosen = next(one for one in list_slices(sizes) if one.name == name)
    try:
        for row in chosen.run(sizes, folder, have):
            tell(row)
    except (TgvcError, ImportError, RuntimeError, OSError) as fault:
        tell({"key": name, "fault": f"{type(fault).__name__}: {' '.join(str(fault).split())[:600]}"})
        return 1
    return 0


def tell(row: dict[str, Any]) -> None:
    """One line for the parent."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(work(sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "dry", frozenset(json.loads(sys.argv[4]))))
