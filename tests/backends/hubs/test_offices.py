"""Both hubs from an office: TLS by an authority of its own, and a proxy between."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gates import AUTHORITY, HUB_NAME, Proxy, TlsFront

from backends import downloads
from backends.errors import HubUnreachable, RateLimited
from backends.hubs import registry, repository
from backends.plans import Patience
from tests.backends.downloads.conftest import REPO, make_variant
from tests.conftest import LoopbackHub

pytest.importorskip("modelscope_hub")

GGUF = os.urandom(3_000_000)
NAME = "tiny-Q4_K_M.gguf"
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
HURRY = Patience(tries=1, stall_seconds=5)
both_hubs = pytest.mark.parametrize("hub_name", ["huggingface", "modelscope"])


@pytest.fixture(autouse=True)
def nothing_of_this_office(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *PROXIES, *map(str.lower, PROXIES)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def secure(tmp_path: Path, home: Path) -> Iterator[tuple[LoopbackHub, int]]:
    """A hub behind TLS, and its port."""
    hub = LoopbackHub(tmp_path / "hub", "--scheme", "https")
    hub.add(REPO, {NAME: GGUF})
    front = TlsFront(hub.server.server_port)
    yield hub, front.port
    front.close()
    hub.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


def point_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", url)


def downloaded(hub_name: str) -> bytes:
    plan = downloads.plan(make_variant(hubs=(hub_name,)))
    return downloads.fetch(plan, patience=HURRY).path.read_bytes()


@both_hubs
def test_a_redirect_from_https_to_http_is_not_followed(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, hub_name: str
) -> None:
    hub = LoopbackHub(tmp_path / "hub", "--scheme", "http")  # where its redirects to the storage lead
    hub.add(REPO, {NAME: GGUF})
    front = TlsFront(hub.server.server_port)
    point_at(monkeypatch, f"https://localhost:{front.port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    try:
        plan = downloads.plan(make_variant(hubs=(hub_name,)))
        with pytest.raises(HubUnreachable, match="redirected from https to http, which is not followed"):
            downloads.fetch(plan, patience=HURRY)
    finally:
        front.close()
        hub.close()
    assert not list(home.rglob(NAME))


@both_hubs
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_an_authority_that_the_environment_names_is_trusted(
    secure: tuple[LoopbackHub, int], monkeypatch: pytest.MonkeyPatch, hub_name: str, variable: str
) -> None:
    point_at(monkeypatch, f"https://localhost:{secure[1]}")
    monkeypatch.setenv(variable, str(AUTHORITY))
    assert downloaded(hub_name) == GGUF
    assert [hit.hub for hit in repository.search("Tiny", (hub_name,)).repositories] == [hub_name]


@both_hubs
def test_an_authority_that_nobody_named_is_one_line_that_says_what_to_set(
    secure: tuple[LoopbackHub, int], monkeypatch: pytest.MonkeyPatch, hub_name: str
) -> None:
    point_at(monkeypatch, f"https://localhost:{secure[1]}")
    with pytest.raises(HubUnreachable, match=r"certificate is not trusted: .* set SSL_CERT_FILE") as caught:
        downloads.plan(make_variant(hubs=(hub_name,)))
    assert "\n" not in str(caught.value)


@both_hubs
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_read_is_one_line_with_its_name(
    secure: tuple[LoopbackHub, int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    hub_name: str,
    content: str | None,
) -> None:
    point_at(monkeypatch, f"https://localhost:{secure[1]}")
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with pytest.raises(HubUnreachable, match=r"bundle\.pem") as caught:
        downloads.plan(make_variant(hubs=(hub_name,)))
    assert "\n" not in str(caught.value)


@both_hubs
def test_https_goes_through_the_proxy_which_alone_resolves_names(
    secure: tuple[LoopbackHub, int], proxy: Proxy, monkeypatch: pytest.MonkeyPatch, hub_name: str
) -> None:
    port = secure[1]
    point_at(monkeypatch, f"https://{HUB_NAME}:{port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    assert downloaded(hub_name) == GGUF
    assert set(proxy.asked) == {f"CONNECT {HUB_NAME}:{port}", f"CONNECT localhost:{port}"}


@both_hubs
def test_hosts_of_no_proxy_are_asked_directly(
    secure: tuple[LoopbackHub, int], proxy: Proxy, monkeypatch: pytest.MonkeyPatch, hub_name: str
) -> None:
    point_at(monkeypatch, f"https://localhost:{secure[1]}")
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    assert downloaded(hub_name) == GGUF
    assert proxy.asked == []


def test_after_a_redirect_the_proxy_is_that_of_the_new_host(
    secure: tuple[LoopbackHub, int], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = secure[1]
    point_at(monkeypatch, f"https://{HUB_NAME}:{port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert downloaded("huggingface") == GGUF
    assert set(proxy.asked) == {f"CONNECT {HUB_NAME}:{port}"}


@both_hubs
def test_plain_http_goes_through_a_proxy_too(
    hub: LoopbackHub, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, hub_name: str
) -> None:
    hub.add(REPO, {NAME: GGUF})
    port = hub.server.server_port
    point_at(monkeypatch, f"http://{HUB_NAME}:{port}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    assert downloaded(hub_name) == GGUF
    assert all(asked.startswith(("GET http://", "HEAD http://")) for asked in proxy.asked)
    assert any("/-cdn/" in asked for asked in proxy.asked)


@both_hubs
@pytest.mark.parametrize(("user", "works"), [("me:secret", True), ("me:wrong", False)])
def test_a_proxy_that_wants_a_password_gets_it_from_its_address(
    secure: tuple[LoopbackHub, int], monkeypatch: pytest.MonkeyPatch, hub_name: str, user: str, works: bool
) -> None:
    proxy = Proxy("me:secret")
    point_at(monkeypatch, f"https://{HUB_NAME}:{secure[1]}")
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    monkeypatch.setenv("HTTPS_PROXY", f"http://{user}@127.0.0.1:{proxy.port}")
    try:
        if works:
            assert downloaded(hub_name) == GGUF
        else:
            with pytest.raises(HubUnreachable, match=r"proxy .*407") as caught:
                downloads.plan(make_variant(hubs=(hub_name,)))
            assert "wrong" not in str(caught.value)
            assert "\n" not in str(caught.value)
    finally:
        proxy.close()


@both_hubs
@pytest.mark.parametrize("question", ["list", "search"])
@pytest.mark.parametrize(
    ("proxy_url", "endpoint", "words"),
    [
        ("http://me:secret@127.0.0.1:9", f"https://{HUB_NAME}", r"the proxy 127\.0\.0\.1:9 does not answer"),
        (None, "http://127.0.0.1:9", "connection refused"),
        (None, "https://hub.invalid", "its name cannot be resolved"),
    ],
)
def test_trouble_that_lasts_is_told_at_once_and_not_after_attempts_that_meet_it_again(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    hub_name: str,
    question: str,
    proxy_url: str | None,
    endpoint: str,
    words: str,
) -> None:
    point_at(monkeypatch, endpoint)
    if proxy_url:
        monkeypatch.setenv("HTTPS_PROXY", proxy_url)
    hub = registry.hub(hub_name)  # ModelScope's client takes a moment to import
    with contextlib.suppress(HubUnreachable):
        hub.listing(REPO)
    until = time.monotonic() + 3.0  # the client's own attempts take 7 s for a listing and 16 s for a search
    with pytest.raises(HubUnreachable, match=words) as caught:
        hub.listing(REPO) if question == "list" else hub.search("tiny")
    assert time.monotonic() < until
    assert "secret" not in str(caught.value)


@both_hubs
@pytest.mark.parametrize("question", ["list", "search"])
def test_a_hub_that_asks_to_wait_longer_than_a_question_may_take_is_not_waited_for(
    hub: LoopbackHub, hub_name: str, question: str
) -> None:
    hub.fault(match="GET /(api|openapi)", kind="status", status=429, retry_after=120)
    until = time.monotonic() + 3.0
    asked = registry.hub(hub_name)
    with pytest.raises(RateLimited, match=r"takes no more requests .*; try again in 120 s") as caught:
        asked.listing(REPO) if question == "list" else asked.search("tiny")
    assert caught.value.retry_after_seconds == 120
    assert time.monotonic() < until


@both_hubs
@pytest.mark.parametrize("question", ["list", "search"])
def test_a_hub_that_fails_once_is_asked_again(hub: LoopbackHub, hub_name: str, question: str) -> None:
    hub.add(REPO, {NAME: GGUF})
    hub.fault(match="GET /(api|openapi)", kind="status", status=503, times=1)
    asked = registry.hub(hub_name)
    if question == "list":
        assert [file.name for file in asked.listing(REPO).files if file.name == NAME] == [NAME]
    else:
        assert [hit.model_id for hit in asked.search("Tiny")] == [REPO]


@both_hubs
def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, home: Path, hub_name: str) -> None:
    point_at(monkeypatch, f"https://{HUB_NAME}")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"proxy .*127\.0\.0\.1:9") as caught:
        downloads.plan(make_variant(hubs=(hub_name,)))
    assert "secret" not in str(caught.value)
