"""Progress bars are live in a terminal, and a line now and then in a file."""

from __future__ import annotations

import io
import sys

import pytest

from shortcut_models.system.progress import LIVE, LOGGED, progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "seconds"), [(Terminal(), LIVE), (io.StringIO(), LOGGED)])
def test_a_terminal_is_live_and_a_file_is_not(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, seconds: float
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(3, "image", desc="reading", initial=1) as bar:
        bar.update()
        assert (bar.total, bar.n, bar.mininterval) == (3, 2, seconds)
    assert "reading" in stream.getvalue()


def test_bars_can_be_quiet_or_of_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for options in ({"quiet": True}, {"disable": None}):
        with progress(None, "frame", **options) as bar:
            bar.update()
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress(None, "frame", disable=None) as bar:
        bar.update()
    assert "1frame" in sys.stderr.getvalue()  # type: ignore[attr-defined]
