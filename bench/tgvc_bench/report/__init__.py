"""The page of an evaluation: one HTML file that opens from disk, with what it shows as Markdown and JSON beside it."""

from tgvc_bench.report.page import write_report

__all__ = ["write_report"]
