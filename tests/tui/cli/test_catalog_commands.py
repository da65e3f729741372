"""`list`, `show`, `specs`: the catalog by command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SEEDS = Path(__file__).resolve().parents[2] / "seeds"


def test_list_json_is_the_contract_s_document(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("list", "small-talk", "--specs", spec_file, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["families"] == [
        {
            "name": "small-talk",
            "context_length": 4096,
            "languages": ["en", "de"],
            "abilities": ["chat"],
            "sizes_in_billions": [1, 70],
            "formats": ["ggufv2", "pytorch"],
            "source": str(spec_file),
        }
    ]
    assert isinstance(ran.json["problems"], list)


def test_list_holds_the_bundled_catalog(modeldeck: Any) -> None:
    families = modeldeck("list", "--json").json["families"]
    assert len(families) > 100
    assert all(family["source"] == "bundled" for family in families)


def test_specs_may_stand_before_the_command_and_more_than_once(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("--specs", spec_file, "list", "--specs", SEEDS / "llama-3.1.rst", "--json")
    sources = {family["source"] for family in ran.json["families"]}
    assert {str(spec_file), str(SEEDS / "llama-3.1.rst")} <= sources


def test_a_file_that_replaces_a_family_says_so(modeldeck: Any) -> None:
    ran = modeldeck("list", "llama-3-instruct", "--specs", SEEDS / "llama-3-instruct.rst")
    assert ran.code == 0
    assert "llama-3-instruct" in ran.out
    assert "llama-3-instruct" in ran.err


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (("--format", "pytorch"), True),
        (("--format", "mlx"), False),
        (("--engine", "transformers"), True),
        (("--engine", "MLX"), False),
        (("--ability", "chat"), True),
        (("--ability", "vision"), False),
        (("--max-size", "1"), True),
        (("--max-size", "0.5"), False),
    ],
)
def test_flags_narrow_the_list(modeldeck: Any, spec_file: Path, flags: tuple[str, ...], found: bool) -> None:
    ran = modeldeck("list", "small-talk", "--specs", spec_file, "--json", *flags)
    assert bool(ran.json["families"]) is found


def test_fits_keeps_what_runs_on_the_machine(modeldeck: Any, spec_file: Path, workstation: Path) -> None:
    ran = modeldeck("list", "small-talk", "--specs", spec_file, "--fits", "--machine", workstation, "--json")
    assert [family["name"] for family in ran.json["families"]] == ["small-talk"]


def test_downloaded_is_empty_on_an_empty_disk(modeldeck: Any, spec_file: Path) -> None:
    assert modeldeck("list", "--specs", spec_file, "--downloaded", "--json").json["families"] == []


def test_where_output_is_no_terminal_every_line_is_one_family(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("list", "small-talk", "--specs", spec_file)
    head, line = ran.out.splitlines()
    assert head.split() == ["NAME", "SIZES", "CONTEXT", "ABILITIES", "FORMATS"]
    assert line.split() == ["small-talk", "1", "70", "4,096", "chat", "ggufv2", "pytorch"]
    assert "\x1b" not in ran.out


def test_nothing_found_is_said_and_is_no_failure(modeldeck: Any) -> None:
    ran = modeldeck("list", "no such words anywhere")
    assert ran.code == 0
    assert "no family" in ran.error_line


def test_show_json_is_the_seed_page_word_for_word(modeldeck: Any) -> None:
    ran = modeldeck("show", "llama-3-instruct", "--specs", SEEDS / "llama-3-instruct.rst", "--json")
    family = ran.json
    assert family["context_length"] == 8192
    assert len(family["specs"]) == 12
    assert family["specs"][0] == {
        "format": "ggufv2",
        "size_in_billions": 8,
        "active_size_in_billions": None,
        "quantizations": ["IQ3_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"],
        "engines": {"llama.cpp": ["IQ3_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]},
        "hubs": {"huggingface": {"id": "lmstudio-community/Meta-Llama-3-8B-Instruct-GGUF"}},
    }
    second = family["specs"][1]
    assert second["engines"]["Transformers"] == ["4-bit", "8-bit", "none"]
    assert second["engines"]["vLLM"] == second["engines"]["SGLang"] == ["none"]


def test_show_says_which_quantizations_an_engine_is_limited_to(modeldeck: Any) -> None:
    ran = modeldeck("show", "LLAMA-3-INSTRUCT", "--specs", SEEDS / "llama-3-instruct.rst")
    assert ran.code == 0
    assert "vLLM (none)" in ran.out
    assert "8,192 tokens" in ran.out


def test_escape_sequences_and_markup_in_a_file_are_shown_as_text(modeldeck: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.toml"
    path.write_text(
        'name = "hostile"\ndescription = "[bold red]not red[/] \\u001b[31mnor this\\u001b[0m \\u202eright to left"\n'
        'context_length = 1\nlanguages = ["en"]\nabilities = ["chat"]\n[[models]]\nsize_in_billions = 1\n'
        '[[models.specs]]\nformat = "ggufv2"\nquantizations = ["Q4_0"]\n[models.specs.hubs.huggingface]\nid = "a/b"\n'
    )
    ran = modeldeck("show", "hostile", "--specs", path)
    assert "[bold red]not red[/]" in ran.out
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out


def test_check_counts_what_a_good_file_holds(modeldeck: Any, spec_file: Path) -> None:
    ran = modeldeck("specs", "check", spec_file, SEEDS / "llama-3.1.rst")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == f"{spec_file}: small-talk, 3 specs, 4 variants"
    assert "4 specs" in ran.out.splitlines()[1]


@pytest.mark.parametrize(
    "content",
    [
        b"name = ",
        b"\xff\xfe\x00",
        b'name = "x"\ncontext_length = "long"\nlanguages = []\nabilities = ["chat"]\n',
        b"",
        b"[1, 2, 3]",
    ],
)
def test_check_names_the_file_of_a_bad_one_and_fails(modeldeck: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    ran = modeldeck("specs", "check", path)
    assert ran.code == 1
    assert ran.out.startswith(f"{path}:")
    assert "Traceback" not in ran.out + ran.err


def test_check_says_the_line(modeldeck: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('name = "x"\ncontext_length = \n')
    assert modeldeck("specs", "check", path).out.startswith(f"{path}:2: ")


@pytest.mark.parametrize(("bad", "said"), [(1, "1 of 1 file cannot be read"), (2, "2 of 2 files cannot be read")])
def test_check_counts_one_file_as_one(modeldeck: Any, tmp_path: Path, bad: int, said: str) -> None:
    paths = [tmp_path / f"{n}.toml" for n in range(bad)]
    for path in paths:
        path.write_text("[1, 2, 3]")
    assert modeldeck("specs", "check", *paths).err.strip() == f"modeldeck specs check: {said}"


def test_a_page_of_an_embedding_model_is_refused_politely(modeldeck: Any, tmp_path: Path) -> None:
    path = tmp_path / "embedding.rst"
    path.write_text(
        ".. _models_builtin_bge:\n\n===\nbge\n===\n\n"
        "- **Model Name:** bge\n- **Languages:** en\n- **Abilities:** embed\n\n"
        "Specifications\n^^^^^^^^^^^^^^\n\n- **Dimensions:** 1024\n- **Max Tokens:** 512\n"
        "- **Model ID:** BAAI/bge-large-en\n"
    )
    ran = modeldeck("specs", "check", path)
    assert ran.code == 1
    assert ran.out.startswith(str(path))
    assert "embed" in ran.out


def test_an_imported_file_is_part_of_the_catalog(modeldeck: Any, spec_file: Path, home: Path) -> None:
    assert modeldeck("specs", "import", spec_file).code == 0
    assert (home / "specs" / "small-talk.toml").read_bytes() == spec_file.read_bytes()
    spec_file.unlink()
    assert modeldeck("show", "small-talk", "--json").json["source"] == str(home / "specs" / "small-talk.toml")


def test_a_bad_file_keeps_the_good_ones_beside_it_from_being_imported(
    modeldeck: Any, spec_file: Path, tmp_path: Path, home: Path
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("name = ")
    ran = modeldeck("specs", "import", spec_file, bad)
    assert ran.code == 1
    assert str(bad) in ran.err
    assert not (home / "specs").exists()


def test_importing_never_writes_over_another_family(modeldeck: Any, spec_file: Path, home: Path) -> None:
    modeldeck("specs", "import", spec_file)
    other = spec_file.parent / "elsewhere" / spec_file.name
    other.parent.mkdir()
    other.write_text(spec_file.read_text().replace("small-talk", "other-talk"))
    ran = modeldeck("specs", "import", other)
    assert ran.code == 1
    assert "holds other families" in ran.error_line
    assert "small-talk" in (home / "specs" / spec_file.name).read_text()
