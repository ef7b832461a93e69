"""Videos that are read whole, pipes, and folders of pictures, for tests of reading."""

import io

from PIL import Image

from tgvc.video import open_video


def read(source, **arguments):
    with open_video(source, **arguments) as video:
        return video.info, list(video)


def save_images(folder, count=12, suffix=".png", size=(96, 64)):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (20 * number, 20 * number, 20 * number)).save(folder / f"p{number}{suffix}")
    return folder


class Pipe(io.RawIOBase):
    """Bytes that cannot be sought and that come in small pieces, with a count of what was taken."""

    def __init__(self, data: bytes) -> None:
        self.taken = 0
        self._data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        piece = self._data[self.taken : self.taken + min(len(buffer), 5000)]
        buffer[: len(piece)] = piece
        self.taken += len(piece)
        return len(piece)
