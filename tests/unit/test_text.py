"""Numbers, names and tables as people read them."""

from __future__ import annotations

import pytest

from shortcut_models import text


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (text.format_steps(1), "1 step"), (text.format_steps(2000), "2,000 steps"),
        (text.format_count(999), "999"), (text.format_count(1_234_567), "1.23 M"), (text.format_count(4000), "4 k"),
        (text.format_duration(0.00012), "0.12 ms"), (text.format_duration(1.234), "1.23 s"),
        (text.format_duration(59.4), "59.4 s"), (text.format_duration(59.6), "1 min 0 s"),
        (text.format_duration(125.0), "2 min 5 s"), (text.format_duration(3725.0), "1 h 2 min"),
        (text.format_number(0.5), "0.5000"), (text.format_number(float("inf")), "–"), (text.format_number(None), "–"),
        (text.format_name("pixel_frechet"), "pixel frechet"),
        (text.format_value(list(range(20))), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..."),
        (text.format_value([1, 2]), "1, 2"), (text.format_value(None), "None"),
        (text.format_table([["steps", "fid"], ["128", "3.5e-05"]]), "steps      fid\n  128  3.5e-05"),
        (text.format_table([["a", "1.50"], ["bb", "10"]], ["left", "right"]), "a   1.50\nbb    10"),
    ],
)  # fmt: skip
def test_text(found: str, expected: str) -> None:
    assert found == expected
