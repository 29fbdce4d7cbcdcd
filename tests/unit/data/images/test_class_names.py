"""Classes from the folders that members of tar shards are in, without any files."""

from __future__ import annotations

import pytest

from shortcut_models.data.images.class_names import below_common, folder_classes, member_classes, split_path


@pytest.mark.parametrize(
    ("member", "parts"),
    [("./a/1.png", ["a", "1.png"]), ("/a//1.png", ["a", "1.png"]), ("../a/1.png", ["a", "1.png"]), ("./", [])],
)
def test_parts_of_a_path_are_names_alone(member: str, parts: list[str]) -> None:
    assert split_path(member) == parts


@pytest.mark.parametrize(
    ("paths", "common", "names"),
    [(["a/b/1", "a/c/2"], "a", ["b/1", "c/2"]), (["a/b/1", "a/2"], "a", ["b/1", "2"]), (["1", "a/2"], "", ["1", "a/2"]),
     (["ab/1", "ac/1"], "", ["ab/1", "ac/1"]), (["a/b/1"], "a/b", ["1"])],
)  # fmt: skip
def test_the_folder_that_holds_all_members(paths: list[str], common: str, names: list[str]) -> None:
    assert below_common(paths) == (common, names)


def test_members_have_the_classes_of_files_below_the_folder_that_holds_all() -> None:
    names = [f"{kind}/{more}{i}.png" for kind in ("é", "b b", "B") for more in ("", "x/") for i in range(2)]
    for top in ("", "flowers/", "a/b/"):
        labels, classes, trouble = member_classes([top + name for name in names])
        wanted = folder_classes(names)
        assert labels is not None and wanted[0] is not None  # noqa: PT018
        assert labels.tolist() == wanted[0].tolist() == [2] * 4 + [1] * 4 + [0] * 4
        assert (classes, trouble) == (wanted[1], "") == (("B", "b b", "é"), "")


@pytest.mark.parametrize(("folders", "classes"), [(4, 4), (5, 0)])
def test_there_are_at_most_half_as_many_classes_as_images(folders: int, classes: int) -> None:
    labels, found, trouble = member_classes([f"{i % folders}/{i}.png" for i in range(8)])
    assert ((labels is None), len(found), bool(trouble)) == (classes == 0, classes, classes == 0)
