"""TorchScript files read without TorchScript: the same tensors, nothing run, and one line for what is no such file."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helpers.fid_files import real_inception, tiny_inception
from helpers.hostile import SENTINEL, named, text
from shortcut_models.errors import UserError
from shortcut_models.evaluation.inception import Inception, read_weights
from shortcut_models.system.hashing import hash_tensors
from shortcut_models.system.torchscript import read_tensors

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class Odd(nn.Module):
    """Tensors of several kinds, in other orders in memory, shared, and cut from larger ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).half()
        self.layers[0].weight.data = self.layers[0].weight.data.to(memory_format=torch.channels_last)
        self.tied = self.layers[0]
        self.cut = nn.Parameter(torch.randn(10)[2:5])
        self.register_buffer("turned", torch.arange(6).view(2, 3).t())
        self.register_buffer("none", torch.zeros(0, 3))
        self.register_buffer("wide", torch.randn(2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def odd(path: Path) -> Path:
    torch.jit.script(Odd()).save(str(path))
    return path


@pytest.mark.parametrize("kind", ["odd", "tiny", "real"])
def test_tensors_are_exactly_those_of_torchscript(tmp_path: Path, kind: str) -> None:
    path = {"odd": odd, "tiny": tiny_inception, "real": lambda _: real_inception()}[kind](tmp_path / "x.pt")
    found, expected = read_tensors(path), torch.jit.load(path, map_location="cpu").state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].stride()) == (value.dtype, value.stride()), name
        assert torch.equal(found[name], value), name
    assert hash_tensors(found) == hash_tensors(expected)


class Hostile(nn.Module):
    """Runs code when it is loaded by TorchScript."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return (0, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        print("run by the file")


def test_code_of_the_file_is_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.jit.script(Hostile()).save(str(tmp_path / "x.pt"))
    capfd.readouterr()
    with pytest.raises(UserError, match=r"x\.pt is not the Inception network of 2015 \(it has no layers\)"):
        read_weights(tmp_path / "x.pt")
    assert capfd.readouterr().out == ""
    torch.jit.load(tmp_path / "x.pt")
    assert "run by the file" in capfd.readouterr().out


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def several(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    offset: int = 0, size: bytes = several(2, 2), stride: bytes = several(2, 1), key: str = "0",
    kind: bytes = b"FloatStorage", count: int = 4, word: str = "storage",
) -> bytes:  # fmt: skip
    """Instructions for a tensor; as it is, a good one."""
    place = b"(" + text(word) + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + number(count) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + number(offset) + size + stride + b"\x89NtR"


def module(items: bytes) -> bytes:
    return b"c__torch__\nM\n)\x81}(" + items + b"ub"


def write(path: Path, content: bytes, numbers: bytes = struct.pack("<4f", 1, 2, 3, 4), compress: bool = False) -> Path:
    """A file that holds this pickle and the numbers of storage 0."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        archive.writestr("x/data.pkl", content + b".")
        archive.writestr("x/data/0", numbers)
    return path


def test_a_file_by_hand_is_read(tmp_path: Path) -> None:
    found = read_tensors(write(tmp_path / "x.pt", module(text("a") + module(text("w") + tensor()))))
    assert {name: value.tolist() for name, value in found.items()} == {"a.w": [[1, 2], [3, 4]]}


RING = b"c__torch__\nM\n)\x81q\x01}(" + text("a") + b"h\x01" + text("b") + b"h\x01ub"
BROKEN: dict[str, bytes] = {
    "beyond its storage": module(text("w") + tensor(offset=1)),
    "before its storage": module(text("w") + tensor(offset=-1)),
    "of a negative size": module(text("w") + tensor(size=several(-2, -2))),
    "of another length": module(text("w") + tensor(count=3)),
    "far larger than the file": module(text("w") + tensor(size=several(2**20, 2**20), stride=several(0, 0))),
    "of unknown numbers": module(text("w") + tensor(kind=b"OtherStorage")),
    "of no storage": module(text("w") + tensor(word="file")),
    "of a missing storage": module(text("w") + tensor(key="../../1")),
    "a ring": RING,
    "no module": b"}" + text("w") + tensor() + b"s",
    "nothing": b"N",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_makes_no_sense_is_said_in_a_line(tmp_path: Path, what: str) -> None:
    with pytest.raises(UserError, match=r"x\.pt is damaged or no TorchScript file: pip install"):
        Inception(write(tmp_path / "x.pt", BROKEN[what]))


def test_a_small_file_does_not_stand_for_much(tmp_path: Path) -> None:
    """Compressed numbers, tensors that share theirs again and again, and parts that lie upon one another."""
    good, zeros = module(text("w") + tensor(size=several(2**22), stride=several(1), count=2**22)), bytes(2**24)
    assert read_tensors(write(tmp_path / "plain.pt", good, zeros))["w"].shape == (2**22,)
    write(tmp_path / "small.pt", good, zeros, compress=True)
    again = b"q\x07" + b"".join(text(f"w{i}") + b"h\x07" for i in range(3))
    write(tmp_path / "shared.pt", good.removesuffix(b"ub") + again + b"ub", zeros)
    whole = write(tmp_path / "plain.pt", good, zeros).read_bytes()
    begin, entry = whole.index(b"PK\x01\x02"), whole[whole.rindex(b"PK\x01\x02") : whole.rindex(b"PK\x05\x06")]
    entries = whole[begin : whole.rindex(b"PK\x05\x06")] + entry.replace(b"x/data/0", b"x/data/1")
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 3, 3, len(entries), begin, 0)
    (tmp_path / "upon.pt").write_bytes(whole[:begin] + entries + end)
    assert zipfile.ZipFile(tmp_path / "upon.pt").namelist() == ["x/data.pkl", "x/data/0", "x/data/1"]
    for name in ("small", "shared", "upon"):
        with pytest.raises(UserError, match=r"^is damaged or no TorchScript file$"):
            read_tensors(tmp_path / f"{name}.pt")


@pytest.mark.parametrize(("by", "name"), [("os", "system"), ("posix", "system"), ("builtins", "eval")])
def test_calls_are_refused(tmp_path: Path, by: str, name: str) -> None:
    order = f"touch {tmp_path / SENTINEL}".encode()
    path = write(tmp_path / "x.pt", module(text("w") + named(by, name, order, protocol=0)))
    with pytest.raises(UserError, match=rf"x\.pt asks for {by}\.{name}, which a checkpoint has no use for: refused"):
        read_weights(path)
    inert = write(tmp_path / "y.pt", module(text("w") + named("torch", "load", order, protocol=0)))
    assert read_tensors(inert) == {}
    assert sorted(tmp_path.iterdir()) == [path, inert]
