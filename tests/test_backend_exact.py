"""Torch's settings, which are of the whole process, while networks run in several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[torch]'")

from tgvc.backends.pytorch.exact import exact  # noqa: E402

EXACT = {"tf32": False, "cudnn": True, "cudnn_tf32": False, "deterministic": True, "benchmark": False}
HOST = {"tf32": True, "cudnn": True, "cudnn_tf32": True, "deterministic": False, "benchmark": True}


def settings() -> dict[str, bool]:
    cudnn = torch.backends.cudnn
    return {
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn": cudnn.enabled,
        "cudnn_tf32": cudnn.allow_tf32,
        "deterministic": cudnn.deterministic,
        "benchmark": cudnn.benchmark,
    }


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host that asked for speed, on a machine that says it has a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with ExitStack() as kept:
        kept.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", torch.backends.cuda.matmul.allow_tf32)
        torch.backends.cuda.matmul.allow_tf32 = True
        kept.enter_context(torch.backends.cudnn.flags(True, True, 10, False, True))
        yield


def test_a_block_is_exact_and_gives_the_host_its_settings_back() -> None:
    seen: list[dict[str, bool]] = []
    for _ in range(2):
        assert settings() == HOST
        with exact():
            seen.append(settings())
    with pytest.raises(ZeroDivisionError), exact():
        seen.append({"tf32": bool(1 // 0)})
    assert settings() == HOST
    assert seen == [EXACT, EXACT]


def test_blocks_that_overlap_are_exact_until_the_last_one_ends() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with exact():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    with exact():
        other.start()
        assert inside.wait(10)
    assert settings() == EXACT  # the other block is still open
    leave.set()
    other.join(10)
    assert settings() == HOST


def test_without_a_gpu_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with exact():
        assert settings() == HOST
