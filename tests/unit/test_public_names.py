"""The names at the top of the package: each is there, is what its type says, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import shortcut_models as sm
from helpers.paths import ROOT
from shortcut_models.networks import DiTConfig, MLPConfig, UNet2dConfig

HELLO_WORLD = {
    "Shortcut", "FlowMatching", "MLP", "DiT", "UNet", "Digits", "Images", "Model", "Policy", "Training", "fit", "train",
    "load", "evaluate", "RECIPES", "OBJECTIVES",
}  # fmt: skip


def test_the_public_names_are_there() -> None:
    assert HELLO_WORLD <= set(dir(sm)) == set(sm.__all__)
    assert all(getattr(sm, name) is not None for name in sm.__all__)
    assert (sm.MLP, sm.DiT, sm.UNet) == (MLPConfig, DiTConfig, UNet2dConfig)
    namespace: dict[str, object] = {}
    exec("from shortcut_models import *", namespace)
    assert set(sm.__all__) <= set(namespace)


def test_a_name_that_does_not_exist_gets_a_suggestion() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'Shortcuts': did you mean Shortcut\?"):
        sm.Shortcuts  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'zebra'$"):
        sm.zebra  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(sm, "__wrapped__")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys; import shortcut_models; dir(shortcut_models); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "PIL", "annotated_types", "docstring_parser", "tyro"} & set(found)


@pytest.mark.long
def test_type_checkers_know_the_names(tmp_path: Path) -> None:
    mypy = pytest.importorskip("mypy.api")
    (tmp_path / "good.py").write_text(
        "import shortcut_models as sm\n"
        "from shortcut_models import DiT\n"
        'model: sm.Model = sm.fit(sm.MLP(width=8), sm.Shortcut(), sm.Digits(), run="runs/a", training=sm.Training())\n'
        'other: sm.Model = sm.train("digits", steps=3, run="runs/b", network=DiT(patch_size=2))\n'
        "policy = sm.Policy(model)\n"
        "reveal_type(sm.RECIPES)\n"
        "reveal_type(sm.load)\n"
    )
    (tmp_path / "bad.py").write_text(
        "import shortcut_models as sm\n"
        "sm.Shortcuts()\n"
        'sm.fit(sm.MLP(), sm.Shortcut(), sm.Digits(), sm.Training(), "runs/a")\n'
        'sm.fit("mlp", sm.Shortcut(), sm.Digits())\n'
    )
    options = ["--ignore-missing-imports", "--follow-imports=silent", "--no-implicit-reexport", "--no-error-summary"]
    options += ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    out, err, code = mypy.run([*options, str(tmp_path / "good.py")])
    assert code == 0, out + err
    assert "dict[str, shortcut_models.recipes.library.Recipe]" in out
    assert "Any" not in out.splitlines()[0]
    out, _, code = mypy.run([*options, str(tmp_path / "bad.py")])
    assert code == 1
    assert sorted({line.split(":")[1] for line in out.splitlines() if ": error:" in line}) == ["2", "3", "4"]
