"""Videos that are written whole and read back, for tests of writing."""

from fractions import Fraction

from tgvc.video import VideoWriter, open_video
from video_samples import info_of, smooth_picture

FPS = Fraction(30000, 1001)


def write(target, pictures, info=None, times=None, **arguments):
    with VideoWriter(target, info or info_of(fps=FPS), **arguments) as writer:
        for number, picture in enumerate(pictures):
            writer.write(picture, None if times is None else times[number])
    return target


def read(source, **arguments):
    with open_video(source, **arguments) as video:
        return video.info, list(video)


def smooth(count):
    return [smooth_picture(n) for n in range(count)]
