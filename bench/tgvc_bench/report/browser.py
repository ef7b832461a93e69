"""A headless Chromium, driven through a pair of pipes: it draws a page as a picture, and lets tests use one.

The protocol is Chromium's own (DevTools), JSON messages with a zero byte behind each; nothing else has to be installed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tgvc.errors import BackendUnavailableError, ConfigError

VARIABLE = "TGVC_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FIRST_FD = 10  # above 3 and 4, which Chromium reads from and writes to
_ABOUT_PX = 14  # the least margin that a page has
_BECOME = (  # shells know only descriptors of one digit
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--mute-audio", "--hide-scrollbars", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


def find_chromium() -> str | None:
    """The program that ``TGVC_CHROMIUM`` names, else the first Chromium or Chrome on PATH; None where there is none."""
    named = os.environ.get(VARIABLE)
    return shutil.which(named) if named else next((p for name in NAMES if (p := shutil.which(name))), None)


class Browser:
    """A running Chromium, without a window and without a profile that outlives it.

    Args:
        program: path of Chromium; None = `find_chromium`.
        patience: seconds to wait for any answer.

    Raises:
        BackendUnavailableError: there is no Chromium, or it does not start.
    """

    def __init__(self, program: str | None = None, patience: float = 60.0) -> None:
        program = program or find_chromium()
        if program is None:
            raise BackendUnavailableError(
                f"no Chromium found: install chromium, or name one in the environment variable {VARIABLE}"
            )
        self._patience = patience
        self._profile = tempfile.TemporaryDirectory(prefix="tgvc-browser-", ignore_cleanup_errors=True)
        command = [program, *_OPTIONS, f"--user-data-dir={self._profile.name}", "about:blank"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # its sandbox refuses to run as root
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        given = [fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_FD) for fd in (theirs_in, theirs_out)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BECOME, *map(str, given), *command],
            pass_fds=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for fd in (theirs_in, theirs_out, *given):
            os.close(fd)
        self._out, self._in = os.fdopen(ours_out, "wb", buffering=0), os.fdopen(ours_in, "rb", buffering=0)
        self._answers: dict[int, dict[str, Any]] = {}
        self._tabs: dict[str, Tab] = {}
        self._changed = threading.Condition()
        self._number, self._ended = 0, False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and remove its profile."""
        try:
            self.call("Browser.close")
        except BackendUnavailableError:
            self._process.kill()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        self._out.close()
        self._in.close()
        self._profile.cleanup()

    def open(
        self, url: str, size: tuple[int, int], *, dark: bool = False, scale: float = 1, touch: bool = False
    ) -> Tab:
        """A page in a window of ``size`` px; ``scale``: device pixels per px; ``touch``: as a phone. Waits for load."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        width, height = size
        tab.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme, motion])
        tab.call("Page.navigate", url=url)
        tab.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")
        return tab

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command and its result.

        Raises:
            BackendUnavailableError: the browser ended, or did not answer in time.
            ConfigError: it refused the command.
        """
        with self._changed:
            self._number += 1
            number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        with contextlib.suppress(BrokenPipeError):  # it has ended: the reader knows in a moment
            self._out.write(json.dumps(message).encode() + b"\0")
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._ended, self._patience)
            answer = self._answers.pop(number, None)
        if answer is None:
            how = "ended" if self._ended else f"gave no answer within {self._patience:g} s"
            raise BackendUnavailableError(f"Chromium {how} at {method}; is {VARIABLE} one that runs here?")
        if "error" in answer:
            raise ConfigError(f"Chromium refused {method}: {answer['error'].get('message')}")
        return dict(answer["result"])

    def _read(self) -> None:
        """Sort what comes in, until the browser ends: answers to who waits for them, events to their tab."""
        rest = b""
        while chunk := self._in.read(1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            with self._changed:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers[message["id"]] = message
                    elif tab := self._tabs.get(message.get("sessionId", "")):
                        tab.note(message["method"], message["params"])
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Tab:
    """One page. ``complaints``: errors and warnings of the console; ``requests``: addresses that were asked for."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol for this page; see `Browser.call`."""
        return self._browser.call(method, self._session, **params)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of the page, awaited, as plain values.

        Raises:
            ConfigError: it threw.
        """
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ConfigError(f"{expression}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, patience: float = 20.0) -> None:
        """Wait until an expression of the page is true.

        Raises:
            BackendUnavailableError: it did not become true in time.
        """
        end = time.monotonic() + patience
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise BackendUnavailableError(f"the page did not reach {expression} within {patience:g} s")
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press and release a key, named as in ``KeyboardEvent.key``."""
        codes = {" ": 32, "Enter": 13, "Tab": 9, "Escape": 27, "Home": 36, "End": 35}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        fields = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key]}
        text = {" ": " ", "Enter": "\r"}.get(key)
        self.call(
            "Input.dispatchKeyEvent",
            type="keyDown" if text else "rawKeyDown",
            **fields,
            **({"text": text} if text else {}),
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def mouse(self, kind: str, x: float, y: float, *, down: bool = False) -> None:
        """A mouse event at a place in the window, px: ``mousePressed``, ``mouseMoved`` or ``mouseReleased``."""
        button = "left" if down or kind != "mouseMoved" else "none"
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=int(down), clickCount=1)

    def draw(self, kind: str = "png", selector: str | None = None) -> bytes:
        """A picture of the whole page, or of one element and what is close about it, as png, jpeg or webp.

        Raises:
            ConfigError: there is no such element.
        """
        found = f"document.querySelector({json.dumps(selector or 'html')})"
        read = "[b.x + scrollX, b.y + scrollY, b.width, b.height]"
        box = self.evaluate(
            f"(n => {{ if (!n) return null; const b = n.getBoundingClientRect(); return {read}; }})({found})"
        )
        if box is None:
            raise ConfigError(f"the page has no {selector}")
        x, y, width, height = box
        about = _ABOUT_PX if selector else 0
        clip = {"x": x - about, "y": y, "width": width + 2 * about, "height": height + about, "scale": 1}
        answer = self.call("Page.captureScreenshot", format=kind, captureBeyondViewport=True, clip=clip)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """Close the page."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def note(self, method: str, params: dict[str, Any]) -> None:
        """Keep what the page complains of and asks for."""
        readers: dict[str, Callable[[], None]] = {
            "Network.requestWillBeSent": lambda: self.requests.append(params["request"]["url"]),
            "Runtime.exceptionThrown": lambda: self.complaints.append(_describe(params["exceptionDetails"])),
            "Runtime.consoleAPICalled": lambda: self._note_console(params),
            "Log.entryAdded": lambda: self._note_log(params["entry"]),
        }
        readers.get(method, lambda: None)()

    def _note_console(self, params: dict[str, Any]) -> None:
        if params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))

    def _note_log(self, entry: dict[str, Any]) -> None:
        if entry["level"] in ("error", "warning"):
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}".strip())


def _describe(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details["text"])


def draw_page(
    page: Path, picture: Path, width: int = 1280, *, section: str | None = None, dark: bool = False, scale: float = 1
) -> None:
    """Draw a page, or a section of it, as a picture, PNG, JPEG or WebP by its name.

    Args:
        page: HTML file.
        picture: file to write.
        width: of the window, px; the picture is as long as what it shows.
        section: name of a section, such as ``curves``; None = all.
        dark: in dark colours.
        scale: device pixels per px.

    Raises:
        BackendUnavailableError: there is no Chromium.
        ConfigError: a picture of another kind, or a section that the page does not have.
    """
    kinds = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
    kind = kinds.get(picture.suffix.lower())
    if kind is None:
        raise ConfigError(f"{picture}: expected a name that ends in {', '.join(kinds)}")
    with Browser() as browser:
        tab = browser.open(page.resolve().as_uri(), (width, 900), dark=dark, scale=scale)
        tab.wait_for("document.documentElement.dataset.ready === 'yes'")
        tab.wait_for("[...document.querySelectorAll('video')].every(v => v.readyState >= 2 || v.error)")
        picture.write_bytes(tab.draw(kind, f"section#{section}" if section else None))
