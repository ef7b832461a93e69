"""The command ``tgvc``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line of this process and exit."""
    try:
        from tgvc.cli.process import Interrupted, complain_interrupted, interruptible, leave
    except KeyboardInterrupt:  # so early that nothing has begun
        sys.stderr.write("tgvc: interrupted, nothing was written\n")
        os._exit(130)
    try:
        with interruptible():  # before the commands, whose imports take a while
            from tgvc.cli.commands import commands

            commands.main()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 1)
    except Interrupted as stopped:
        leave(complain_interrupted(stopped))
