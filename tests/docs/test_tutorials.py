"""The tutorial notebooks: their code runs, and what is committed is whole.

The cells of a notebook run in order as one module, and not in a kernel. A kernel would start Python and import PyTorch
again for every notebook, which takes longer than the cells, and it would run without the checks of annotations that
`conftest` installs. `make tutorials` executes the notebooks in a kernel, at their full length, and stores the outputs.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import struct
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from helpers.paths import ROOT
from helpers.snippets import load_file, shortened

TUTORIALS = ROOT / "docs" / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == kind]


def outputs(path: Path) -> list[dict[str, Any]]:
    return [output for cell in cells(path, "code") for output in cell["outputs"]]


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in a temporary directory, with temporary directories in it, and without windows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


def test_there_are_five_and_the_index_links_them() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]
    index = (TUTORIALS / "index.md").read_text()
    assert all(f"]({path.name})" in index and f"tutorials/{path.name}" in mkdocs_nav() for path in NOTEBOOKS)


def mkdocs_nav() -> str:
    return (ROOT / "mkdocs.yml").read_text().partition("nav:")[2].partition("validation:")[0]


@pytest.mark.long
@each_notebook
def test_the_cells_run_in_order(path: Path, nothing_left: None, tmp_path: Path) -> None:
    joined = "\n\n\n".join(f"# {path.name}: {cell['id']}\n{source(cell)}" for cell in cells(path, "code"))
    file = tmp_path / "tutorial.py"
    file.write_text(shortened(joined))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load_file(file, "tutorial")


@each_notebook
def test_a_notebook_is_valid(path: Path) -> None:
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)
    assert 8 <= len(notebook["cells"]) <= 25
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", each) for each in ids)
    assert all("outputs" not in cell for cell in cells(path, "markdown"))
    nbformat = pytest.importorskip("nbformat", reason="the extra dev installs nbformat")
    nbformat.validate(notebook)


@each_notebook
def test_a_notebook_has_the_outputs_of_one_run(path: Path) -> None:
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for output in outputs(path)}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert {output["name"] for output in outputs(path) if output["output_type"] == "stream"} == {"stdout"}
    for cell in code:
        printing = any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(ast.parse(source(cell))))
        if printing and "def " not in source(cell):
            assert cell["outputs"], f"{cell['id']} prints, and has no output: run make tutorials"


@each_notebook
def test_the_pictures_of_a_notebook_are_small(path: Path) -> None:
    pictures = [
        base64.b64decode(each["data"]["image/png"]) for each in outputs(path) if "image/png" in each.get("data", {})
    ]
    assert 1 <= len(pictures) <= 4
    for picture in pictures:
        assert len(picture) <= 60_000
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert max(struct.unpack(">II", picture[16:24])) <= 1200
    assert path.stat().st_size <= 300_000


@each_notebook
def test_a_notebook_shows_no_machine_and_no_trouble(path: Path) -> None:
    text = io.StringIO()
    for output in outputs(path):
        data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
        json.dump([output.get("text"), data], text)
    for cell in read(path)["cells"]:
        text.write("\n" + source(cell) + json.dumps(cell["metadata"]))
    found = re.search(
        r"/(home|root|tmp|work|Users|usr|var|opt|mnt)\b|[A-Z]:\\|Warning|Traceback|Error:", text.getvalue()
    )
    assert found is None, found


@each_notebook
def test_a_notebook_has_short_cells_and_links_that_lead_somewhere(path: Path) -> None:
    assert all(len(source(cell).splitlines()) <= 25 for cell in cells(path, "code"))
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)\s]+)\)", source(cell)):
            assert target.startswith("https://") or (TUTORIALS / target.partition("#")[0]).exists(), target


def test_the_links_of_a_notebook_lead_to_pages_of_the_site() -> None:
    hooks = load_file(ROOT / "docs" / "hooks.py", "hooks")
    notebook, other = (SimpleNamespace(file=SimpleNamespace(src_uri=name)) for name in ("tutorials/a.ipynb", "a.md"))
    pages = (
        '<a href="../index.md"> <a href="../methods.md#in-two-phases"> <a href="02-b.ipynb"> <a href="https://c.md">'
    )
    site = '<a href="../../"> <a href="../../methods/#in-two-phases"> <a href="../02-b/"> <a href="https://c.md">'
    assert hooks.on_page_content(pages, page=notebook) == site
    assert hooks.on_page_content(pages, page=other) == pages


@each_notebook
def test_the_words_of_a_notebook_are_ours(path: Path) -> None:
    banned = [line.partition("->")[0] for line in (ROOT / "tools" / "words.txt").read_text().split() if "->" in line]
    phrases = (ROOT / "tools" / "phrases.txt").read_text().splitlines()
    for cell in read(path)["cells"]:
        words = " ".join(source(cell).split())
        assert not set(re.findall(r"[a-z]+", words.lower())) & set(banned), cell["id"]
        for phrase in phrases:
            assert not re.search(phrase, words, re.IGNORECASE), (cell["id"], phrase)
