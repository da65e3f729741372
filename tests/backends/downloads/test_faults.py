"""Every way in which a hub misbehaves, alone and in pairs: whole, or one clear line and little transferred again."""

from __future__ import annotations

import itertools
import os
import re
from typing import Any

import pytest

from backends import downloads, fetching
from backends.errors import AccessDenied, BackendError, DownloadError
from backends.plans import Patience
from specs.model import Variant
from tests.backends.downloads.conftest import make_variant

SIZE = 4_000_000
GGUF = os.urandom(SIZE)
REPO = "maker/Tiny-GGUF"
NAME = "tiny-Q4_K_M.gguf"

ONCE: dict[str, dict[str, Any]] = {
    "401": {"kind": "status", "status": 401},
    "403": {"kind": "status", "status": 403},
    "404": {"kind": "status", "status": 404},
    "416": {"kind": "status", "status": 416},
    "429": {"kind": "status", "status": 429, "retry_after": 2},
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
    "drop": {"kind": "drop", "after": 2_500_000},
    "truncate": {"kind": "truncate", "after": 1_500_000},
    "short": {"kind": "short", "after": 3_000_000},
    "slow": {"kind": "slow", "bps": 40_000_000},
    "delay": {"kind": "delay", "seconds": 0.05},
    "hang": {"kind": "hang", "after": 2_000_000},
    "silence": {"kind": "hang", "after": -1},
    "corrupt": {"kind": "corrupt"},
    "norange": {"kind": "norange"},
    "refuse": {"kind": "refuse"},
}
HARMLESS_ALONE = set(ONCE) - {"corrupt", "401", "403", "404"}
CDN = r"^GET /-cdn/"
FRONT = {"huggingface": r"^GET /[^/]+/[^/]+/resolve/", "modelscope": r"^GET /api/v1/models/[^/]+/[^/]+/repo\?"}


@pytest.fixture(params=["huggingface", "modelscope"])
def variant(request: pytest.FixtureRequest) -> Variant:
    """The same weights on either hub; both are the stand-in, each through its own protocol."""
    if request.param == "modelscope":
        pytest.importorskip("modelscope_hub")
    return make_variant(hubs=(request.param,))


def sent(hub: Any) -> int:
    """Bytes of file bodies that left the hub."""
    return sum(line["bytes"] for line in hub.log() if re.search("/-cdn/|/resolve/|/repo$", line["path"]))


def scaled(fault: dict[str, Any], scale: int) -> dict[str, Any]:
    """The fault at the same share of a larger file."""
    return fault | {name: fault[name] * scale for name in ("after", "bps") if name in fault}


def scale_for(variant: Variant, *names: str) -> int:
    """Some 4 MB are on their way before a client can refuse an answer: they must be little beside the file."""
    refused = {"norange", "short"} if variant.hub_names == ("modelscope",) else {"norange"}
    return 6 if refused & set(names) else 1


def outcome(variant: Variant, patience: Patience) -> str | None:
    """None when it ended whole, else the one line."""
    plan = downloads.plan(variant)
    try:
        done = downloads.fetch(plan, patience=patience)
    except BackendError as error:
        line = str(error)
        assert line
        assert "\n" not in line
        assert downloads.local_weights(variant) is None
        return line
    assert done.path.read_bytes() in (GGUF, GGUF * 6)
    return None


@pytest.mark.parametrize("name", ONCE)
def test_one_fault_on_the_storage_ends_whole_or_in_one_line(
    hub: Any, variant: Variant, patience: Patience, name: str
) -> None:
    scale = scale_for(variant, name)
    hub.add(REPO, {NAME: GGUF * scale})
    hub.fault(match=CDN, times=1, **scaled(ONCE[name], scale))
    line = outcome(variant, patience)
    assert sent(hub) <= 1.25 * SIZE * scale
    if name in HARMLESS_ALONE | {"401", "403", "404"}:
        assert line is None


@pytest.mark.parametrize("name", [name for name in ONCE if name != "corrupt"])
def test_one_fault_on_the_hub_itself_ends_whole_or_in_one_line(
    hub: Any, variant: Variant, patience: Patience, name: str
) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=FRONT[variant.hub_names[0]], times=1, **ONCE[name])
    line = outcome(variant, patience)
    assert sent(hub) <= 1.25 * SIZE
    assert (line is None) == (name in HARMLESS_ALONE)


@pytest.mark.parametrize(("first", "second"), itertools.combinations(ONCE, 2))
def test_two_faults_one_after_the_other_end_whole_or_in_one_line(
    hub: Any, variant: Variant, patience: Patience, first: str, second: str
) -> None:
    scale = scale_for(variant, first, second)
    hub.add(REPO, {NAME: GGUF * scale})
    hub.fault(match=CDN, times=1, **scaled(ONCE[first], scale))
    hub.fault(match=CDN, skip=1, times=1, **scaled(ONCE[second], scale))
    line = outcome(variant, patience)
    assert sent(hub) <= 1.25 * SIZE * scale
    if "corrupt" not in (first, second):
        assert line is None


BODY = ("drop", "truncate", "short", "slow", "hang", "corrupt", "norange")


@pytest.mark.parametrize(("first", "second"), itertools.combinations(BODY, 2))
def test_two_faults_at_once_end_whole_or_in_one_line(
    hub: Any, variant: Variant, patience: Patience, first: str, second: str
) -> None:
    scale = scale_for(variant, first, second)
    hub.add(REPO, {NAME: GGUF * scale})
    hub.fault(match=CDN, times=1, **scaled(ONCE[first], scale))
    hub.fault(match=CDN, times=1, **scaled(ONCE[second], scale))
    line = outcome(variant, patience)
    assert sent(hub) <= 1.25 * SIZE * scale
    if "corrupt" not in (first, second):
        assert line is None


@pytest.mark.parametrize("name", ["503", "drop0", "silence", "refuse", "429"])
def test_a_fault_that_stays_is_given_up_on_with_its_reason(hub: Any, variant: Variant, clock: Any, name: str) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, **ONCE.get(name, {"kind": "drop", "after": 0}))
    line = outcome(variant, Patience(tries=3, stall_seconds=0.1, pause=clock.pause))
    assert line is not None
    assert len(clock.waits) == 2


def test_back_off_doubles_and_the_hubs_own_wish_is_followed(
    hub: Any, variant: Variant, patience: Patience, clock: Any
) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, times=3, kind="status", status=503)
    hub.fault(match=FRONT[variant.hub_names[0]], skip=3, times=1, kind="status", status=429, retry_after=7)
    assert outcome(variant, patience) is None
    assert clock.waits == [1, 2, 4, 7]


def test_what_arrived_stays_and_the_next_start_asks_only_for_the_rest(hub: Any, variant: Variant, clock: Any) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, times=1, kind="truncate", after=3_000_000)
    hub.fault(match=CDN, skip=1, kind="status", status=500)
    assert outcome(variant, Patience(tries=2, pause=clock.pause)) is not None
    assert downloads.plan(variant).files[0].present_bytes == 3_000_000
    hub.calm()
    hub.forget()
    assert outcome(variant, Patience(pause=clock.pause)) is None
    assert sent(hub) == 1_000_000


def test_damaged_bytes_are_never_taken_for_whole(hub: Any, variant: Variant, patience: Patience) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="corrupt")
    line = outcome(variant, patience)
    assert line is not None
    assert "wrong sum" in line
    assert sent(hub) == SIZE
    hub.calm()
    assert outcome(variant, patience) is None


def test_damage_on_the_disk_is_noticed_when_a_part_is_taken_up_again(
    hub: Any, variant: Variant, patience: Patience
) -> None:
    hub.add(REPO, {NAME: GGUF})
    plan = downloads.plan(variant)
    part = fetching.part_file(plan, plan.files[0])
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1_000_000)
    with pytest.raises(DownloadError, match="wrong sum"):
        downloads.fetch(plan, patience=patience)


def test_a_damaged_small_file_is_simply_transferred_again(hub: Any, patience: Patience) -> None:
    hub.add("maker/Tiny", {"model.safetensors": GGUF, "config.json": b'{"a": 1, "b": 2, "c": 3}'})
    family = make_variant("none", model_format="pytorch", repo="maker/Tiny", file=None)
    hub.fault(match=r"resolve/[^/]+/config.json", times=1, kind="corrupt")
    done = downloads.fetch(downloads.plan(family), patience=patience)
    assert (done.path / "config.json").read_bytes() == b'{"a": 1, "b": 2, "c": 3}'


def test_a_hub_without_ranges_asks_before_everything_comes_twice(
    hub: Any, variant: Variant, patience: Patience
) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match=CDN, kind="norange")
    hub.fault(match=CDN, times=1, kind="truncate", after=3_000_000)
    line = outcome(variant, patience)
    assert line is not None
    assert "ignores ranges" in line
    assert downloads.plan(variant).files[0].present_bytes == 3_000_000
    assert outcome(variant, patience) is None


def test_an_expired_address_is_asked_for_anew(hub: Any, variant: Variant, patience: Patience) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.server.RequestHandlerClass.state.args.cdn_ttl = -5
    hub.fault(match=r"resolve", skip=2, kind="delay", seconds=0)
    fresh = iter([0.0, 1.0])

    def back_to_normal(seconds: float, cancel: object) -> None:
        if next(fresh, None) is None:
            hub.server.RequestHandlerClass.state.args.cdn_ttl = 3600

    assert outcome(variant, Patience(pause=back_to_normal)) is None


@pytest.mark.parametrize("listed", [SIZE - 1, SIZE + 1])
def test_a_listing_with_a_wrong_size_is_said_and_nothing_is_taken_for_whole(
    hub: Any, variant: Variant, patience: Patience, listed: int
) -> None:
    hub.add(REPO, {NAME: GGUF}, size={NAME: listed})
    line = outcome(variant, patience)
    assert line is not None
    assert "lists" in line


def test_a_listing_with_a_wrong_sum_is_said_and_nothing_is_taken_for_whole(
    hub: Any, variant: Variant, patience: Patience
) -> None:
    hub.add(REPO, {NAME: GGUF}, sha256={NAME: "a" * 64})
    line = outcome(variant, patience)
    assert line is not None
    assert "wrong sum" in line
    assert sent(hub) == SIZE


def test_xet_storage_is_read_over_plain_http(hub: Any, patience: Patience) -> None:
    hub.add(REPO, {NAME: GGUF}, xet=True)
    assert outcome(make_variant(), patience) is None
    assert sent(hub) == SIZE


@pytest.mark.parametrize("token", [None, "hf_ungranted"])
def test_a_gated_repository_is_said_with_its_page(
    hub: Any, variant: Variant, patience: Patience, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", token)
    hub.add(REPO, {NAME: GGUF}, gated="manual")
    with pytest.raises(AccessDenied) as caught:
        downloads.fetch(downloads.plan(variant), patience=patience)
    assert caught.value.kind == "gated"
    assert (caught.value.url or "").startswith(hub.url)
    assert "\n" not in str(caught.value)
