"""Frames in and out of files, folders and pipes through PyAV, one at a time.

``open_video`` reads anything as I420 pictures of the working size with their times; ``VideoWriter`` writes them. Sound
is not carried. libav's messages stay off, as PyAV leaves them, unless the host program turns them on (``av.logging``):
nothing here touches that setting.
"""

from tgvc.video.geometry import working_size
from tgvc.video.reader import TimedPicture, VideoReader, is_constant_rate, open_video
from tgvc.video.writer import VideoWriter

__all__ = ["TimedPicture", "VideoReader", "VideoWriter", "is_constant_rate", "open_video", "working_size"]
