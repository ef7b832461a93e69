"""The command ``tgvc``."""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process and exit."""
    from tgvc.cli.commands import commands
    from tgvc.cli.process import leave

    try:
        commands.main()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 1)
