"""What a pipeline embeds: networks loaded once, many streams decoded at a time, frames taken as they come."""

from tgvc.session.request import LiveRequest, Request
from tgvc.session.session import DecodeSession
from tgvc.session.stats import RequestStats, SessionStats

__all__ = ["DecodeSession", "LiveRequest", "Request", "RequestStats", "SessionStats"]
