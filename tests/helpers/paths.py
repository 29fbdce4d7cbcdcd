"""Where the repository, its test data and the shared data are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"
"""real data beside the checkout; tests that use it skip where it does not exist"""
