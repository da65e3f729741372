"""`fit` and `hardware`: what runs where, by command."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tui.cli import main

GIB = 1 << 30

OPTION = {
    "name": str,
    "size_in_billions": (int, float),
    "format": str,
    "quantization": str,
    "model_id": str,
    "hubs": list,
    "engine": str,
    "engine_status": str,
    "reason": (str, type(None)),
    "verdict": str,
    "context": int,
    "max_context": (int, type(None)),
    "gpu_layers": (int, type(None)),
    "download_bytes": (int, type(None)),
    "tokens_per_second": (dict, type(None)),
    "memory": dict,
}
PARTS = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "overhead_bytes", "total_bytes")


def options(modeldeck: Any, spec_file: Path, machine: Path, *flags: object) -> list[dict[str, Any]]:
    ran = modeldeck(
        "fit", "small-talk", "--specs", spec_file, "--machine", machine, "--json", *flags, HF_HUB_OFFLINE="1"
    )
    assert ran.code == 0, ran.err
    assert ran.json["machine"]["os"] == "linux"
    found: list[dict[str, Any]] = ran.json["options"]
    return found


def test_every_option_has_the_contract_s_shape(modeldeck: Any, spec_file: Path, workstation: Path) -> None:
    found = options(modeldeck, spec_file, workstation)
    for option in found:
        assert set(option) >= set(OPTION)
        for name, kind in OPTION.items():
            assert isinstance(option[name], kind), name
        assert option["engine_status"] in {"ready", "not-installed", "unsupported"}
        assert option["verdict"] in {"gpu", "split", "cpu", "no"}
        assert option["memory"]["basis"] in {"measured", "file", "catalog", "size"}
        known = [option["memory"][part] for part in PARTS]
        assert sum(part for part in known[:-1] if part is not None) == known[-1]
        assert option["verdict"] != "no" or option["reason"]


def test_one_option_for_each_variant_and_engine_that_takes_its_format(
    modeldeck: Any, spec_file: Path, workstation: Path
) -> None:
    judged = options(modeldeck, spec_file, workstation)
    found = {(option["size_in_billions"], option["quantization"], option["engine"]) for option in judged}
    assert {(1, "Q4_K_M", "llama.cpp"), (1, "Q8_0", "llama.cpp"), (70, "Q4_K_M", "llama.cpp")} <= found
    assert {(1, "none", "Transformers"), (1, "none", "vLLM"), (1, "none", "SGLang")} <= found


def test_a_small_model_runs_on_the_card_and_a_big_one_not_wholly(
    modeldeck: Any, spec_file: Path, workstation: Path
) -> None:
    verdicts = {
        option["size_in_billions"]: option["verdict"]
        for option in options(
            modeldeck, spec_file, workstation, "--model-engine", "llama.cpp", "--quantization", "q4_k_m"
        )
    }
    assert verdicts[1] == "gpu"
    assert verdicts[70] == "split"


def test_no_is_an_answer_and_not_a_failure(modeldeck: Any, spec_file: Path, machine_of: Any) -> None:
    small = machine_of(card_bytes=GIB // 2, memory_bytes=GIB)
    flags = ("--size-in-billions", 70, "--model-engine", "llama.cpp")
    (option,) = options(modeldeck, spec_file, small, *flags)
    assert option["verdict"] == "no"
    assert option["reason"]


def test_context_and_cache_type_change_the_kv_cache(modeldeck: Any, spec_file: Path, workstation: Path) -> None:
    flags = ("--size-in-billions", 1, "--quantization", "Q4_K_M", "--model-engine", "llama.cpp")
    (whole,) = options(modeldeck, spec_file, workstation, *flags, "--context", 4096)
    (half,) = options(modeldeck, spec_file, workstation, *flags, "--context", 2048)
    (small,) = options(modeldeck, spec_file, workstation, *flags, "--context", 4096, "--kv-cache-type", "q8_0")
    # 16 layers x 8 heads x (64 + 64) elements x 2 bytes x 4,096 tokens
    assert whole["memory"]["kv_cache_bytes"] == 16 * 8 * 128 * 2 * 4096
    assert half["memory"]["kv_cache_bytes"] * 2 == whole["memory"]["kv_cache_bytes"]
    assert small["memory"]["kv_cache_bytes"] < whole["memory"]["kv_cache_bytes"] * 0.6


def test_the_hub_s_listing_makes_the_download_exact(
    modeldeck: Any, spec_file: Path, workstation: Path, hub: Any
) -> None:
    hub.add("tests/small-talk-GGUF", {"small-talk-Q4_K_M.gguf": b"x" * 12_345})
    ran = modeldeck(
        "fit", "small-talk", "--specs", spec_file, "--machine", workstation, "--quantization", "Q4_K_M",
        "--size-in-billions", 1, "--model-engine", "llama.cpp", "--json",
    )  # fmt: skip
    (option,) = ran.json["options"]
    assert option["download_bytes"] == 12_345


def test_the_whole_catalog_asks_nobody(modeldeck: Any, workstation: Path, hub: Any) -> None:
    ran = modeldeck("fit", "--machine", workstation, "--model-format", "awq", "--json")
    assert ran.code == 0
    assert len(ran.json["options"]) > 10
    assert hub.log() == []


def test_fit_in_words_has_a_line_a_variant(modeldeck: Any, spec_file: Path, workstation: Path) -> None:
    ran = modeldeck("fit", "small-talk", "--specs", spec_file, "--machine", workstation, HF_HUB_OFFLINE="1")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert len(lines) == 1 + 4
    assert "● GPU" in lines[1]


def test_fit_in_words_says_how_far_it_goes_and_for_which_machine(
    modeldeck: Any, spec_file: Path, workstation: Path
) -> None:
    asked = ("fit", "small-talk", "--specs", spec_file, "--model-engine", "llama.cpp", "--quantization", "Q4_K_M")
    ran = modeldeck(*asked, "--machine", workstation, HF_HUB_OFFLINE="1")
    head, small, large = ran.out.splitlines()
    assert head.split()[6] == "CONTEXT"
    found = options(modeldeck, spec_file, workstation, "--model-engine", "llama.cpp", "--quantization", "Q4_K_M")
    assert [f"{one['max_context']:,}" in line for one, line in zip(found, (small, large), strict=True)] == [True, True]
    assert "judged for " in ran.err
    assert "which is not this machine" in ran.err
    assert "not this machine" not in modeldeck(*asked, HF_HUB_OFFLINE="1").err


def test_of_one_variant_every_engine_is_told_best_first(
    spec_file: Path, workstation: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from backends.engines import registry
    from backends.engines.engine import EngineStatus
    from tui.cli import main

    ready = {name: EngineStatus("ready") for name in ("Transformers", "vLLM", "SGLang")}
    monkeypatch.setattr(registry, "statuses", lambda: ready)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fit = ["fit", "small-talk", "--specs", str(spec_file), "--machine", str(workstation)]
    assert main.run([*fit, "--size-in-billions", "1", "--model-format", "pytorch"]) == 0
    told = capsys.readouterr()
    rows = told.out.splitlines()[1:]
    assert [next(name for name in ready if f"  {name}" in row) for row in rows] == ["vLLM", "SGLang", "Transformers"]
    assert "engines best first: what is installed and runs it, then the better place, then the higher speed" in told.err
    assert main.run(fit) == 0
    assert "best first" not in capsys.readouterr().err, "of several variants the best engine alone is told"


def test_a_speed_of_less_than_one_token_in_ten_seconds_is_not_nought(modeldeck: Any) -> None:
    asked = ("fit", "llama-3.1", "--size-in-billions", "405", "--model-engine", "Transformers", "--machine", "8x H100")
    whole = ("--quantization", "none", "--context", "8192")
    ran = modeldeck(*asked, *whole, "--json", HF_HUB_OFFLINE="1")
    on_the_processor = [one for one in ran.json["options"] if one["verdict"] == "cpu"]
    assert on_the_processor
    assert all(0 < one["tokens_per_second"]["value"] < 0.1 for one in on_the_processor)
    words = modeldeck(*asked, *whole, HF_HUB_OFFLINE="1").out
    assert re.search(r"\b0\.0[1-9] tok/s", words)
    assert "0.0 tok/s" not in words


def test_repositories_with_the_same_variant_are_told_apart(modeldeck: Any, workstation: Path) -> None:
    flags = ("--size-in-billions", "8", "--model-format", "ggufv2", "--machine", workstation)
    ran = modeldeck("fit", "llama-3.1-instruct", *flags, HF_HUB_OFFLINE="1")
    twice = [line for line in ran.out.splitlines() if " Q4_K_M " in line]
    repositories = [line.rpartition(" · ")[2] for line in twice]
    assert len(set(repositories)) == len(twice) == 2
    assert all(one.endswith("/Meta-Llama-3.1-8B-Instruct-GGUF") for one in repositories)
    (once,) = (line for line in ran.out.splitlines() if " IQ4_XS " in line)
    assert " · " not in once


def test_a_machine_that_is_no_file_is_said_once(modeldeck: Any, spec_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"os": "linux", "arch": "x86_64", "accelerators": {}}')
    for machine, words in ((tmp_path, "is no file"), (broken, "accelerators is an object")):
        ran = modeldeck("fit", "small-talk", "--specs", spec_file, "--machine", machine)
        assert ran.code == 1
        assert words in ran.err
        assert ran.err.count(str(machine)) == 1


def test_a_context_that_means_nothing_is_refused(modeldeck: Any, spec_file: Path) -> None:
    for context in ("9" * 20, "9" * 5000):
        ran = modeldeck("fit", "small-talk", "--specs", spec_file, "--context", context)
        assert ran.code == 2
        assert "is too large; at most 1,073,741,824" in ran.err
        assert len(ran.err) < 300


def test_words_are_ascii_where_the_output_is(modeldeck: Any, spec_file: Path, workstation: Path) -> None:
    ran = modeldeck(
        "fit",
        "small-talk",
        "--specs",
        spec_file,
        "--machine",
        workstation,
        HF_HUB_OFFLINE="1",
        PYTHONIOENCODING="ascii",
    )
    assert ran.out.isascii()
    assert "# GPU" in ran.out


def test_words_are_ascii_where_the_locale_has_nothing_else(modeldeck: Any, spec_file: Path, workstation: Path) -> None:
    asked = ("fit", "small-talk", "--specs", spec_file, "--machine", workstation)
    assert modeldeck(*asked, LC_ALL="C").out.isascii()
    assert not modeldeck(*asked, LC_ALL="C.UTF-8").out.isascii()


def test_words_are_ascii_where_the_user_wants_them_so(modeldeck: Any, spec_file: Path, workstation: Path) -> None:
    call = ("fit", "small-talk", "--specs", spec_file, "--machine", workstation)
    ran = modeldeck(*call, HF_HUB_OFFLINE="1", MODELDECK_ASCII="1")
    assert ran.out.isascii()
    assert "# GPU" in ran.out
    assert "● GPU" in modeldeck(*call, HF_HUB_OFFLINE="1", MODELDECK_ASCII="0").out


def test_settings_stand_below_flags(modeldeck: Any, spec_file: Path, workstation: Path) -> None:
    flags = ("--size-in-billions", 1, "--quantization", "Q8_0", "--model-engine", "llama.cpp")
    common = ("fit", "small-talk", "--specs", spec_file, "--machine", workstation, "--json", *flags)
    settings = {"HF_HUB_OFFLINE": "1", "MODELDECK_CONTEXT": "1024"}
    assert modeldeck(*common, **settings).json["options"][0]["context"] == 1024
    assert modeldeck(*common, "--context", 512, **settings).json["options"][0]["context"] == 512


def test_a_preset_says_nothing_of_a_processor_that_it_does_not_know(modeldeck: Any) -> None:
    ran = modeldeck("hardware", "--machine", "RTX 4090")
    assert "unknown" not in ran.out
    assert "processor" not in ran.out
    assert "RTX 4090" in ran.out


def test_hardware_and_doctor_wait_longer_for_a_slow_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.machine import detect
    from backends.machine.model import Cpu, Machine, Memory

    asked: list[float] = []

    def slow(*, deadline_seconds: float = 2.0) -> Machine:
        asked.append(deadline_seconds)
        return Machine("linux", "x86_64", Cpu("slow", 1, 1), Memory(1 << 30, 1 << 30))

    monkeypatch.setattr(detect, "detect", slow)
    assert main.run(["hardware"]) == main.run(["doctor"]) == 0
    assert asked == [10.0, 10.0]


def test_only_loads_here_can_be_forgotten(modeldeck: Any, workstation: Path) -> None:
    assert modeldeck("fit", "--forget", "--json").json == {"forgotten": 0}
    ran = modeldeck("fit", "gpt-2", "--forget")
    assert ran.code == 2
    assert "--model-engine" in ran.err


def test_hardware_prints_the_document_that_fit_reads(modeldeck: Any, workstation: Path, tmp_path: Path) -> None:
    ran = modeldeck("hardware", "--machine", workstation, "--json")
    assert ran.json["accelerators"][0]["name"] == "NVIDIA GeForce RTX 4090"
    again = tmp_path / "again.json"
    again.write_text(ran.out)
    assert modeldeck("hardware", "--machine", again, "--json").json | {"label": "machine"} == ran.json


def test_this_machine_has_the_contract_s_fields(modeldeck: Any) -> None:
    machine = modeldeck("hardware", "--json").json
    assert set(machine) >= {"os", "arch", "cpu", "memory", "accelerators", "warnings"}
    assert machine["memory"]["total_bytes"] > GIB
    assert set(machine["cpu"]) >= {"name", "physical_cores", "logical_cores"}


def test_doctor_notices_missing_bytecode_and_what_it_says_makes_it(modeldeck: Any, tmp_path: Path) -> None:
    bare = {"PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode"), "PYTHONDONTWRITEBYTECODE": "1"}

    def said() -> str:
        return next(line for line in modeldeck("doctor", **bare).out.splitlines() if line.startswith("  bytecode"))

    missing, _, cure = said().partition("this makes it: ")
    assert "no for tui.app, textual.app" in missing
    made = subprocess.run(cure, shell=True, env=os.environ | bare, capture_output=True, text=True, check=True)
    assert made.stdout + made.stderr == ""
    assert said().split() == ["bytecode", "there"]


@pytest.mark.parametrize("secret", ["hf_verysecret"])
def test_doctor_tells_no_secret(modeldeck: Any, secret: str) -> None:
    ran = modeldeck("doctor", HF_TOKEN=secret, HF_ENDPOINT=f"http://someone:{secret}@127.0.0.1:9/?token={secret}")
    assert ran.code == 0
    assert secret not in ran.out + ran.err
    assert "http://127.0.0.1:9" in ran.out
    for section in ("modeldeck", "engines", "hardware", "catalog", "settings", "folders", "environment", "terminal"):
        assert f"\n{section}\n" in f"\n{ran.out}"
    assert "failed" not in ran.out
