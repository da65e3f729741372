"""SGLang's engine as its callers see it: names from engine_contracts.json, shapes of answers from 0.5.23's sources.

Engine.async_generate: sglang/srt/entrypoints/engine.py; abort_request and what an answer holds with
incremental_streaming_output: sglang/srt/managers/tokenizer_manager.py; reasons to finish: managers/schedule_batch.py.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fake_tokenizer import END, FakeTokenizer
from record_contracts import contract

CONTRACT = contract("sglang")
SERVER_ARGUMENTS = frozenset(CONTRACT["ServerArgs"])
SAMPLING_PARAMETERS = frozenset(CONTRACT["SamplingParams"])


@dataclass
class World:
    """What a test sets and sees."""

    script: str = "one two three"
    load_fails: Exception | None = None
    own_loop: bool = False
    aborts_with: str | None = None
    at_once: int = 1
    prefill_steps: int = 0
    hangs_until_aborted: bool = False
    on_step: Any = None
    arguments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    loops: list[Any] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    watch: Any = None
    shut_down: int = 0
    cached: int = 0


world = World()


class TokenizerManager:
    def __init__(self) -> None:
        self.tokenizer = FakeTokenizer()
        self.aborted: set[str] = set()

    def abort_request(self, rid: str = "", abort_all: bool = False) -> None:
        self.aborted.add(rid)
        world.aborted.append(rid)


class Engine:
    def __init__(self, **kwargs: Any) -> None:
        unknown = set(kwargs) - SERVER_ARGUMENTS
        assert not unknown, f"ServerArgs has no {unknown}"
        world.arguments.append(kwargs)
        if world.load_fails:
            raise world.load_fails
        self.tokenizer_manager = TokenizerManager()
        # 0.5.23's _ensure_event_loop takes the thread's loop; main has made a new one in every case since.
        if world.own_loop:
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        else:
            self.loop = asyncio.get_event_loop_policy().get_event_loop()

    async def async_generate(
        self,
        prompt: str | None = None,
        sampling_params: dict[str, Any] | None = None,
        input_ids: list[int] | None = None,
        return_logprob: bool | None = False,
        logprob_start_len: int | None = None,
        top_logprobs_num: int | None = None,
        stream: bool = False,
        rid: str | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        assert asyncio.get_running_loop() is self.loop, "the engine belongs to the loop that it was made on"
        assert stream and rid and input_ids and sampling_params is not None
        unknown = set(sampling_params) - SAMPLING_PARAMETERS
        assert not unknown, f"SamplingParams has no {unknown}"
        world.asked.append({"tokens": input_ids, "rid": rid, **sampling_params})
        world.loops.append(self.loop)
        if world.watch is None:  # as the manager's handle_loop, which goes on for ever
            world.watch = self.loop.create_task(asyncio.Event().wait())
        return self._answer(input_ids, sampling_params, rid, top_logprobs_num or 0 if return_logprob else None)

    async def _answer(self, tokens: list[int], sampling: dict[str, Any], rid: str, logprobs: int | None) -> Any:
        try:
            async for output in self._generate(tokens, sampling, rid, logprobs):
                yield output
        finally:
            world.ended.append(rid)

    async def _generate(
        self, tokens: list[int], sampling: dict[str, Any], rid: str, logprobs: int | None
    ) -> AsyncIterator[dict[str, Any]]:
        at = -world.prefill_steps
        while True:
            await asyncio.sleep(0)
            if world.on_step:
                world.on_step(at)
            while world.hangs_until_aborted and rid not in self.tokenizer_manager.aborted:
                await asyncio.sleep(0.001)
            about: dict[str, Any] = {"id": rid, "prompt_tokens": len(tokens), "cached_tokens": world.cached}
            if rid in self.tokenizer_manager.aborted or world.aborts_with:
                reason = {"type": "abort", "message": world.aborts_with or "Aborted", "status_code": 500}
                yield {"text": "", "output_ids": [], "meta_info": about | {"finish_reason": reason}}
                return
            if at < 0:
                at += 1
                continue
            given: list[int] = []
            reason = None
            while len(given) < world.at_once and reason is None:
                token = ord(world.script[at]) if at < len(world.script) else END
                given.append(token)
                at += 1
                if token in (sampling["stop_token_ids"] or ()):
                    reason = {"type": "stop", "matched": token}
                elif at >= sampling["max_new_tokens"]:
                    reason = {"type": "length", "length": at}
            about |= {"finish_reason": reason, "completion_tokens": at}
            if logprobs is not None:
                best = [(-0.1 - n, ord("A") + n, None) for n in range(logprobs)]
                about["output_token_logprobs"] = [(-0.5, token, None) for token in given]
                about["output_top_logprobs"] = [best for _ in given]
            yield {"text": "", "output_ids": given, "meta_info": about}
            if reason:
                return

    def shutdown(self) -> None:
        world.shut_down += 1


def modules() -> dict[str, types.ModuleType]:
    """The module that stands in sys.modules for sglang."""
    global world  # noqa: PLW0603 a fresh one for each test
    world = World()
    sglang = types.ModuleType("sglang")
    sglang.Engine = Engine  # type: ignore[attr-defined]
    return {"sglang": sglang}
