"""From the command line to a loaded engine: the way to run a variant, its weights, and the load."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backends.engines.engine import Engine
from backends.errors import (
    BackendError,
    BadWeights,
    DamagedWeights,
    DoesNotFit,
    EngineError,
    EngineMissing,
    OutOfMemory,
)
from backends.fit import Option
from backends.loaded import load_request
from specs.model import VLLM, Variant
from tui import units
from tui.cli import choose

if TYPE_CHECKING:
    from backends.loaded import LoadRequest
    from backends.machine.model import Machine
    from tui.cli.native import Screen


def option_for(arguments: argparse.Namespace, *, force: bool) -> tuple[Option, Machine]:
    """How the variant that the flags name would run here, and what here is.

    Raises:
        EngineMissing: the engine is not installed.
        EngineError: it does not run here, or does not take these weights.
        DoesNotFit: nowhere on this machine, unless force.
    """
    from backends.engines.registry import statuses
    from backends.judge import best_option, options
    from backends.knowledge import known_of
    from backends.machine.detect import detect
    from tui.services import measured_here

    variant = choose.one_variant(choose.family(arguments), arguments)
    found = statuses()
    machine = detect()
    measured = measured_here(machine)
    known = known_of([variant], deadline_seconds=None, folders=choose.folders())
    judged = options(
        [variant],
        machine,
        choose.wish(arguments),
        statuses=found,
        knowledge=known,
        as_built=True,
        corrections=measured.corrections,
        speeds=measured.speeds,
    )
    address = getattr(arguments, "ray_address", None)
    # Without vLLM here nobody could drive a cluster, and that is said instead.
    if address and any(one.engine == VLLM and one.engine_status == "ready" for one in judged):
        from backends.clustered import on_cluster
        from backends.engines.cluster import cluster_cards

        judged = on_cluster(judged, cluster_cards(address), address, known)
    if arguments.engine is not None:
        judged = [one for one in judged if one.engine == arguments.engine]
    if not judged:
        raise EngineError(_untaken(variant, arguments.engine))
    option = best_option(judged)
    if option.engine_status == "not-installed":
        status = found[option.engine].of(variant.spec.format, variant.quantization)
        line = status.install_line or f"modeldeck[{option.engine.lower()}]"
        raise EngineMissing(status.reason or f"{option.engine} is not installed", line)
    if option.engine_status == "unsupported":
        raise EngineError(option.reason or f"{option.engine} does not run on this machine")
    if option.verdict == "no" and not force:
        raise DoesNotFit(option.reason or f"{variant.key} does not fit this machine")
    return option, machine


def _untaken(variant: Variant, engine: str | None) -> str:
    from specs.engines import candidate_engines

    takers = candidate_engines(variant.spec, variant.quantization)
    asked = engine or "no engine of ours"
    if not takers:
        return f"no engine of ours takes {variant.spec.format} {variant.quantization}"
    return f"{asked} does not take {variant.spec.format} {variant.quantization}; {' or '.join(takers)} would"


def request_of(option: Option, path: Path, trusted: str | None) -> LoadRequest:
    """How to load an option from this disk.

    Args:
        trusted: The repository whose Python code may run, by its name; None: none may.
    """
    refuse_others_code(option, trusted)
    request = load_request(option, path)
    if trusted is None:
        return request
    return replace(request, options=replace(request.options, trust_remote_code=True))


def refuse_others_code(option: Option, trusted: str | None) -> None:
    """Raise EngineError where --trust-remote-code names another repository than the one that would be loaded."""
    found = option.variant.model_id
    if trusted is not None and trusted != found:
        raise EngineError(f"--trust-remote-code names {trusted}, and what would be loaded is {found}: nothing was run")


def weights_here(variant: Variant, *, hub: str | None, yes: bool, may_ask: bool = False) -> Path:
    """The weights of a variant, downloaded first when they are missing and the user agrees."""
    from backends.downloads import local_index

    path = local_index(choose.folders()).path(variant)
    if path is not None:
        return path
    from tui.cli.download import HUB_NAMES, fetch_with_progress, plan_of

    planned = plan_of(variant, hub, may_ask=may_ask)
    size = units.file_size(planned.missing_bytes)
    place = f"{HUB_NAMES.get(planned.hub, planned.hub)} ({planned.model_id})"
    if planned.missing_bytes and not yes and not agreed(f"download {size} from {place}?"):
        raise BackendError(f"the weights are not here, and nothing was downloaded; --yes fetches {size} from {place}")
    return fetch_with_progress(planned, may_ask=may_ask).path


def agreed(question: str) -> bool:
    """Whether the user says yes; no where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip().lower()
    return answer in {"y", "yes"}


def load(request: LoadRequest, screen: Screen) -> tuple[Engine, float]:
    """The loaded engine and the seconds that it took."""
    from backends.engines.registry import adapter, hosted
    from tui.settings import load_settings

    apart = load_settings().engine_isolation == "process"
    began = drawn = time.monotonic()

    def show(share: float, what: str) -> None:
        nonlocal drawn
        if time.monotonic() - drawn >= 0.1:
            drawn = time.monotonic()
            screen.passing(f"loading {share:.0%} {what}")

    try:
        engine = hosted(adapter(request.engine), isolated=apart or None).load(request.weights, request.options, show)
    except (EngineMissing, OutOfMemory):
        raise
    except EngineError as error:
        wrong = _damage(request.weights.path)
        if wrong is None:
            raise
        cure = f"modeldeck library verify {shlex.quote(request.key)} compares every byte, remove lets you fetch it anew"
        raise DamagedWeights(f"{request.engine} cannot load {request.weights.name}", f"{wrong}; {cure}") from error
    screen.passing("")
    return engine, time.monotonic() - began


def _damage(path: Path) -> str | None:
    """What the headers of weights that an engine refused say is wrong with them; None: nothing."""
    from backends.memory.weights_file import knowledge_of

    try:
        knowledge_of(path)
    except BadWeights as error:
        return str(error)
    return None


def keep_measured(
    machine: Machine, request: LoadRequest, measured_bytes: int | None, tokens_per_second: float | None
) -> None:
    """Let later fits say "measured", and correct what they predict."""
    from backends.loaded import load_record
    from tui.services import record_load

    record_load(machine, load_record(request, measured_bytes, tokens_per_second))
