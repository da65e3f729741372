"""Families written as TOML, and files added to the user's catalog."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from specs.catalog import load_catalog
from specs.model import Architecture, HubSource, ModelFamily, ModelSpec, SpecError
from specs.reading import read_spec_file, read_text
from specs.writing import family_to_toml, import_files, keep_family, safe_file_stem, write_whole

SEEDS = Path(__file__).parents[1] / "seeds"


def again(family: ModelFamily) -> ModelFamily:
    (found,) = read_text(family_to_toml(family), "file.toml", family.source, ".toml").families
    return found


def test_every_bundled_family_reads_back_equal() -> None:
    for family in load_catalog().families:
        assert again(family) == family


@pytest.mark.parametrize("page", ["llama-3-instruct.rst", "llama-3.1.rst"])
def test_a_page_reads_back_equal(page: str) -> None:
    (family,) = read_spec_file(SEEDS / page)
    assert again(family) == family


def test_every_field_reads_back_equal() -> None:
    shape = Architecture(block_count=2, head_count_kv=(1, 0), tied_embeddings=True, extra={"odd key": (1, 2.5, "x")})
    hub = HubSource(
        "huggingface", "a/b-{quantization}", "f/{quantization}.gguf", "f-{quantization}-{part}.gguf",
        {"Q8_0": ("00001-of-00001",), "Q4.1": ("split-a", "split-b")}, "v1.0", None, ("p.gguf",),
    )  # fmt: skip
    first = ModelSpec(
        "ggufv2", 1.5, ("Q4_K_M", "Q8_0", "Q4.1"), (hub,), 0.5, {"llama.cpp": ("Q8_0",)}, 7, shape, "/x y"
    )
    bare = ModelSpec("mlx", 1.5, ("4bit",), (), 0.5, path="/tmp/weights")
    family = ModelFamily(
        'odd "name" \\ é', 5, ("en",), ("chat",), (first, bare, first), "two\tsides [bold]", "mit", "bundled",
        "{{ a }}\n\n'''\"\"\"\x1b", ("<|end|>",), "<a>", "</a>",
    )  # fmt: skip
    assert again(replace(family, name="odd")) == replace(family, name="odd", description="two sides [bold]")


def test_files_are_checked_and_then_copied(tmp_path: Path) -> None:
    page = SEEDS / "llama-3.1.rst"
    folder = tmp_path / "home" / "specs"
    (done,) = import_files([page], folder)
    assert (done.target, done.names) == (folder / "llama-3.1.rst", ("llama-3.1",))
    assert done.target.read_bytes() == page.read_bytes()
    assert load_catalog(folder).family("llama-3.1").source == str(done.target)


def test_nothing_is_copied_when_one_file_is_bad(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("name = 3")
    folder = tmp_path / "specs"
    with pytest.raises(SpecError, match="expected name as a text"):
        import_files([SEEDS / "llama-3.1.rst", bad], folder)
    assert not folder.exists()


def test_file_names_are_made_safe_and_kept_apart(tmp_path: Path) -> None:
    names = []
    for folder in ("one", "two"):
        path = tmp_path / folder / "-my model; rm.rst"
        path.parent.mkdir()
        path.write_bytes((SEEDS / "llama-3.1.rst").read_bytes())
        names.append(path)
    done = import_files(names, tmp_path / "specs")
    assert [entry.target.name for entry in done] == ["my-model-rm.rst", "my-model-rm-2.rst"]
    assert safe_file_stem("../..") == "family"


def test_a_file_without_a_known_ending_gets_the_one_of_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    path.write_bytes((SEEDS / "llama-3.1.rst").read_bytes())
    (done,) = import_files([path], tmp_path / "specs")
    assert done.target.name == "page.rst"


def test_a_family_is_kept_as_a_file_of_the_user(tmp_path: Path) -> None:
    family = load_catalog().family("qwen3")
    path = keep_family(family, tmp_path)
    assert path == tmp_path / "qwen3.toml"
    assert replace(read_spec_file(path)[0], source="bundled") == family


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.toml"
    target.write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SpecError, match="cannot be written: No space left on device"):
        keep_family(replace(load_catalog().family("phi-2"), name="a"), tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.toml"]
    assert target.read_text() == "before"


def test_a_written_file_belongs_to_its_user(tmp_path: Path) -> None:
    write_whole(tmp_path / "x", b"content")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600
