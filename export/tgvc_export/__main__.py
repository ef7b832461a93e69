"""``python -m tgvc_export`` is ``tgvc export``."""

from __future__ import annotations

from tgvc.cli.process import interruptible, leave
from tgvc_export.command import export

if __name__ == "__main__":
    try:
        with interruptible():
            export.main(prog_name="tgvc export")
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 1)
