"""Hostile requests are refused with 4xx and leave no trace: none on the disk, none in the queue."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from dinoseg.errors import UsageError
from dinoseg.model.segmenter import Segmenter
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.security import COOKIE, split_host
from dinoseg.serving.uploads import make_safe
from tests.serving.servers import ADDRESS, draw_png, list_left, pack, post, scratch_of, serving

TOKEN = "a-token-that-nobody-guesses"
LIMITS = {
    **{
        "upload_bytes": 200_000,
        "pixels": 4_000,
        "voxels": 40_000,
        "unpacked_bytes": 1_000_000,
        "members": 20,
    },
    **{"queue": 4, "token": TOKEN},
}
PREDICT = "/api/v1/predict"


@dataclass(frozen=True)
class Attack:
    """A request, and how it is refused.

    Attributes:
        name: what it tries.
        statuses: that are right answers.
        method: of HTTP.
        path: of the request.
        headers: of the request, beside the right token.
        files: name and content of each that is sent.
        fields: of the form.
        says: what the answer mentions.
        token: sent with it; None for none.
        content: a body that is no form.
    """

    name: str
    statuses: tuple[int, ...]
    method: str = "POST"
    path: str = PREDICT
    headers: dict[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, bytes], ...] = ()
    fields: dict[str, str] = field(default_factory=lambda: {"model": "glass"})
    says: str = ""
    token: str | None = TOKEN
    content: Any = None


def _png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _nifti_header(shape: tuple[int, int, int]) -> bytes:
    """A NIfTI header of a volume of that size, without its voxels."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header.binaryblock + bytes(4)


def _linked() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("slice.dcm")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return file.getvalue()


def _lying_bomb() -> bytes:
    """A zip whose member says that it is small and unpacks to 8 MB."""
    content = pack({"slice.dcm": bytes(8_000_000)})
    small = struct.pack("<I", 1000)
    large = struct.pack("<I", 8_000_000)
    return content.replace(large, small)


def _encrypted() -> bytes:
    content = bytearray(pack({"slice.dcm": bytes(500)}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _zip(**members: bytes) -> tuple[tuple[str, bytes], ...]:
    return (("scan.zip", pack({name.replace("__", "/"): content for name, content in members.items()})),)


PNG = (("a.png", draw_png()),)
SCAN = {"model": "scan"}
ATTACKS = [
    # zips
    Attack(
        "zip with ..", (422,), files=(("a.zip", pack({"../../evil.dcm": b"x"})),), fields=SCAN, says="harm"
    ),
    Attack(
        "zip from the root",
        (422,),
        files=(("a.zip", pack({"/etc/cron.d/x": b"x"})),),
        fields=SCAN,
        says="harm",
    ),
    Attack(
        "zip of a drive", (422,), files=(("a.zip", pack({"C:\\evil.dcm": b"x"})),), fields=SCAN, says="harm"
    ),
    Attack("zip with a link", (422,), files=(("a.zip", _linked()),), fields=SCAN, says="link"),
    Attack(
        "zip bomb that says so",
        (422,),
        files=(("a.zip", pack({"a.dcm": bytes(90_000_000)})),),
        fields=SCAN,
        says="unpacks to 90,000,000",
    ),
    Attack(
        "zip bomb in parts",
        (422,),
        files=(("a.zip", pack({f"{n}.dcm": bytes(200_000) for n in range(15)})),),
        fields=SCAN,
        says="unpacks",
    ),
    Attack("zip bomb that lies", (422,), files=(("a.zip", _lying_bomb()),), fields=SCAN),
    Attack(
        "zip of too many",
        (422,),
        files=(("a.zip", pack({f"{n}.dcm": b"x" for n in range(30)})),),
        fields=SCAN,
        says="holds 30 files",
    ),
    Attack(
        "zip in a zip",
        (422,),
        files=(("a.zip", pack({"inner.zip": pack({"a.dcm": bytes(1000)})})),),
        fields=SCAN,
    ),
    Attack(
        "zip twice the same name",
        (422,),
        files=(("a.zip", pack({"a.dcm": b"1", "A.dcm": b"2"})),),
        fields=SCAN,
        says="one file",
    ),
    Attack("encrypted zip", (422,), files=(("a.zip", _encrypted()),), fields=SCAN, says="encrypted"),
    Attack("zip cut in two", (422,), files=(("a.zip", pack({"a.dcm": bytes(1000)})[:80]),), fields=SCAN),
    Attack("no zip at all", (422,), files=(("a.zip", b"PK\x03\x04 and nothing else"),), fields=SCAN),
    # images and volumes
    Attack("huge image", (422,), files=(("a.png", _png_header(60_000, 60_000)),), says="pixels"),
    Attack(
        "image above the limit", (422,), files=(("a.png", _png_header(100, 100)),), says="accepted are 4,000"
    ),
    Attack(
        "huge volume",
        (422,),
        files=(("a.nii", _nifti_header((30_000, 30_000, 30_000))),),
        fields=SCAN,
        says="voxels",
    ),
    Attack(
        "volume above the limit",
        (422,),
        files=(("a.nii.gz", gzip.compress(_nifti_header((100, 100, 100)) + bytes(10**6))),),
        fields=SCAN,
        says="accepted are 40,000",
    ),
    Attack("text as an image", (422,), files=(("a.png", b"#!/bin/sh\nrm -rf /\n"),), says="is text"),
    Attack("page as an image", (422,), files=(("a.jpg", b"<html><script>alert(1)</script>"),), says="text"),
    Attack("program as an image", (422,), files=(("a.exe", b"MZ" + bytes(100)),)),
    Attack("SVG with a script", (422,), files=(("a.svg", b"<svg onload='alert(1)'/>"),)),
    Attack("pickle", (422,), files=(("a.pkl", b"\x80\x04\x95cos\nsystem\n"),)),
    Attack("empty file", (422,), files=(("a.png", b""),), says="empty"),
    Attack("several images", (422,), files=(("a.png", draw_png()), ("b.png", draw_png())), says="given 2"),
    Attack("no file", (422,), says="files"),
    Attack("text for a file", (422,), fields={"files": "text"}),
    Attack("GIF with many frames", (422,), files=(("a.gif", b"GIF89a" + bytes(50)),)),
    # names
    Attack("name from the root", (422,), files=(("/etc/passwd", b"x"),)),
    Attack("hidden name", (422,), files=((".ssh", b"x"),)),
    Attack("model from elsewhere", (422,), files=PNG, fields={"model": "../../etc/passwd"}, says="unknown"),
    Attack("series of shell", (422,), files=PNG, fields={"model": "glass", "series": "$(rm -rf /)"}),
    Attack("window of a million", (422,), files=PNG, fields={"model": "glass", "window": "1000000"}),
    Attack("window of words", (422,), files=PNG, fields={"model": "glass", "window": "one"}),
    Attack("wait for ever", (422,), path=f"{PREDICT}?wait=1e9", files=PNG),
    Attack("wait for nothing", (422,), path=f"{PREDICT}?wait=nan", files=PNG),
    # bodies
    Attack("body above the limit", (413,), files=(("a.png", bytes(300_000)),), says="larger than 200,000"),
    Attack("body that says so", (413,), headers={"content-length": "99999999999"}, content=b"x"),
    Attack("length of words", (400,), headers={"content-length": "many"}, content=b"x"),
    Attack("length below nothing", (400,), headers={"content-length": "-5"}, content=b"x"),
    Attack(
        "chunks above the limit",
        (413,),
        content=lambda: (bytes(50_000) for _ in range(20)),
        headers={"content-type": "multipart/form-data; boundary=x"},
    ),
    Attack(
        "form without a boundary", (400, 422), headers={"content-type": "multipart/form-data"}, content=b"x"
    ),
    Attack(
        "form that does not end",
        (400, 422),
        headers={"content-type": "multipart/form-data; boundary=x"},
        content=b"--x\r\nContent-Disposition: form-data; name=files\r\n\r\nabc",
    ),
    Attack("JSON for a form", (422,), headers={"content-type": "application/json"}, content=b'{"files": 1}'),
    Attack("many fields", (400, 422), files=PNG, fields={f"field{n}": "x" for n in range(1200)}),
    # paths
    Attack("path out of the page", (404,), "GET", "/static/../app.py"),
    Attack("path out of the page, encoded", (404,), "GET", "/static/%2e%2e/app.py"),
    Attack("path out of the page, twice encoded", (404,), "GET", "/static/%252e%252e/app.py"),
    Attack("path with a null", (404,), "GET", "/static/a%00.js"),
    Attack("outputs of no job", (404,), "GET", f"/api/v1/jobs/{'0' * 24}/outputs/mask.png"),
    Attack("outputs out of the job", (404, 422), "GET", "/api/v1/jobs/..%2f..%2fetc/outputs/passwd"),
    Attack("job of a path", (422,), "GET", "/api/v1/jobs/..%5c..%5cetc"),
    Attack("method of nobody", (405,), "BREW", "/api/v1/models", says="Method"),
    Attack("DELETE of everything", (405,), "DELETE", "/api/v1/models"),
    # who asks
    Attack(
        "page of elsewhere",
        (403,),
        headers={"origin": "https://evil.example"},
        files=PNG,
        says="evil.example",
    ),
    Attack("page without an origin", (403,), headers={"origin": "null"}, files=PNG),
    Attack("page of another port", (403,), headers={"origin": "http://127.0.0.1:9999"}, files=PNG),
    Attack(
        "page that looks like ours",
        (403,),
        headers={"origin": "http://127.0.0.1:8000.evil.example"},
        files=PNG,
    ),
    Attack(
        "preflight of elsewhere",
        (403,),
        "OPTIONS",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    ),
    Attack(
        "form of elsewhere",
        (403,),
        headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        files=PNG,
    ),
    Attack(
        "picture of elsewhere",
        (403,),
        "GET",
        "/api/v1/models",
        headers={"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ),
    Attack(
        "DNS rebinding",
        (421,),
        "GET",
        "/api/v1/models",
        headers={"host": "evil.example:8000"},
        says="not called",
    ),
    Attack(
        "rebinding to a name like ours",
        (421,),
        "GET",
        "/api/v1/models",
        headers={"host": "127.0.0.1.evil.example"},
    ),
    Attack(
        "rebinding with an at", (421,), "GET", "/api/v1/models", headers={"host": "127.0.0.1@evil.example"}
    ),
    Attack(
        "rebinding of another machine", (421,), "GET", "/api/v1/models", headers={"host": "10.0.0.7:8000"}
    ),
    Attack("host with a path", (421,), "GET", "/api/v1/models", headers={"host": "127.0.0.1/evil"}),
    Attack("no token", (401,), files=PNG, token=None, says="token is missing or wrong"),
    Attack("wrong token", (401,), files=PNG, token="a-token-that-somebody-guesses"),
    Attack("beginning of the token", (401,), "GET", "/api/v1/models", token=TOKEN[:-1]),
    Attack("token of other letters", (401,), "GET", "/metrics", token="a-tökèn".encode().decode("latin-1")),
    Attack("token in the address", (401,), "GET", f"/api/v1/models?token={TOKEN}", token=None),
    Attack("wrong token in the address", (401,), "GET", "/?token=wrong", token=None),
    Attack(
        "token as a password",
        (401,),
        "GET",
        "/api/v1/models",
        headers={"authorization": f"Basic {TOKEN}"},
        token=None,
    ),
    Attack(
        "wrong cookie", (401,), "GET", "/api/v1/models", headers={"cookie": f"{COOKIE}=wrong"}, token=None
    ),
    Attack(
        "cookie that is none", (401,), "GET", "/api/v1/models", headers={"cookie": "=;;{}[]\\"}, token=None
    ),
]


@pytest.fixture(scope="module")
def client(
    glass: Segmenter, glass3d: Segmenter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    place = tmp_path_factory.mktemp("system")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(place))
        with serving({"glass": glass, "scan": glass3d}, **LIMITS) as client:
            yield client


def _send(client: TestClient, attack: Attack) -> Any:
    headers: dict[str, Any] = dict(attack.headers)
    if attack.token is not None:
        headers["authorization"] = f"Bearer {attack.token}".encode("latin-1")
    if attack.content is not None:
        content = attack.content() if callable(attack.content) else attack.content
        return client.request(attack.method, attack.path, headers=headers, content=content)
    sent = [("files", (name, content, "image/png")) for name, content in attack.files]
    form = attack.fields if attack.method == "POST" else None
    return client.request(attack.method, attack.path, headers=headers, files=sent or None, data=form)


def test_there_are_attacks_enough() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 60


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused_and_leaves_no_trace(client: TestClient, attack: Attack) -> None:
    place, jobs = scratch_of(client).parent, client.app.state.service.jobs.list()
    answer = _send(client, attack)
    assert answer.status_code in attack.statuses, answer.text
    detail = answer.json()["detail"]
    assert attack.says in detail
    assert "\n" not in detail
    assert str(place) not in answer.text
    assert TOKEN not in answer.text
    assert list_left(client) == []
    assert [path.name for path in place.iterdir()] == [scratch_of(client).name]
    assert client.app.state.service.jobs.list() == jobs
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_honest_request_is_served_after_all_that(client: TestClient) -> None:
    client.headers["authorization"] = f"Bearer {TOKEN}"
    try:
        assert post(client, ("a.png", draw_png()), model="glass").json()["state"] == "done"
    finally:
        del client.headers["authorization"]


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("scan_0001.nii.gz", "scan_0001.nii.gz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a b.png", "a_b.png"),
        (".hidden.png", "hidden.png"),
        ("", "upload"),
        ("...", "upload"),
        ("Mädchen Röntgen.png", "Ma_dchen_Ro_ntgen.png"),
        ("a\0b\nc.png", "a_b_c.png"),
        ("$(reboot).png", "(reboot).png"),
    ],
)
def test_names_are_made_safe(given: str, safe: str) -> None:
    assert make_safe(given) == safe


def test_long_names_keep_their_ending() -> None:
    name = make_safe("x" * 5000 + ".nii.gz")
    assert len(name) == 100
    assert name.endswith(".nii.gz")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1:8000", "127.0.0.1"),
        ("LOCALHOST", "localhost"),
        ("[::1]:80", "::1"),
        ("a@b", None),
        ("a:port", None),
        ("a/b", None),
        ("a?b", None),
        ("", None),
        ("[::1", None),
    ],
)
def test_hosts_are_read_to_the_letter(text: str, host: str | None) -> None:
    assert split_host(text) == host


def test_other_addresses_need_a_token() -> None:
    for host in ("0.0.0.0", "192.168.1.2", "::", "server.example"):
        with pytest.raises(UsageError, match="needs a token; add --token"):
            ServeOptions(host=host)
        assert ServeOptions(host=host, token=TOKEN).host == host
    for host in ("127.0.0.1", "localhost", "::1"):
        assert ServeOptions(host=host).is_local
    with pytest.raises(UsageError, match=r"a token has at least 16 letters.* given 5; make one with"):
        ServeOptions(token="short")


def test_the_page_is_opened_by_a_link_that_becomes_a_cookie(glass: Segmenter) -> None:
    with serving({"glass": glass}, token=TOKEN) as client:
        answer = client.get(f"/?token={TOKEN}&model=glass", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/?model=glass")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}={TOKEN};")
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/api/v1/models").status_code == 200  # with the cookie
        client.cookies.clear()
        assert client.get("/api/v1/models").status_code == 401
        assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_our_own_page_and_programs_may_ask(client: TestClient) -> None:
    right = {"authorization": f"Bearer {TOKEN}"}
    for headers in ({"origin": ADDRESS}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
        assert client.get("/api/v1/models", headers={**right, **headers}).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers={**right, **link}).status_code == 200


def test_an_origin_that_was_named_may_ask_and_no_other(glass: Segmenter) -> None:
    viewer = "https://viewer.example"
    with serving({"glass": glass}, origins=(viewer,), token=TOKEN) as client:
        asked = {"origin": viewer, "access-control-request-method": "POST"}
        answer = client.options(PREDICT, headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == viewer
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        right = {"origin": viewer, "authorization": f"Bearer {TOKEN}"}
        answer = client.get("/api/v1/models", headers=right)
        assert answer.headers["access-control-allow-origin"] == viewer
        assert "access-control-allow-credentials" not in answer.headers
        assert client.get("/api/v1/models", headers={"origin": viewer}).status_code == 401
        assert client.get("/api/v1/models", headers={**right, "origin": f"{viewer}:1"}).status_code == 403


def test_names_of_a_proxy_are_ours_once_they_are_named(glass: Segmenter) -> None:
    with serving({"glass": glass}, names=("seg.example",)) as client:
        assert client.get("/health", headers={"host": "seg.example"}).status_code == 200
        assert client.get("/health", headers={"host": "SEG.example:443"}).status_code == 200
        assert client.get("/health", headers={"host": "other.example"}).status_code == 421
    with serving({"glass": glass}, host="0.0.0.0", token=TOKEN) as client:
        assert client.get("/health", headers={"host": "10.0.0.7:8000"}).status_code == 200
        assert client.get("/health", headers={"host": "evil.example"}).status_code == 421


def test_every_answer_has_the_headers_of_a_careful_server(client: TestClient) -> None:
    right = {"authorization": f"Bearer {TOKEN}"}
    for path in ("/", "/api/v1/models", "/api/v1/openapi.json", "/nothing", "/static/index.html"):
        headers = client.get(path, headers=right).headers
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert "'unsafe-eval'" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers.get("cache-control", "none" if path.startswith("/static") else "") in (
            "no-store",
            "none",
        )


def test_folders_of_dead_servers_are_removed_at_the_next_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, glass: Segmenter
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make: Callable[[], Any] = lambda: serving({"glass": glass})  # noqa: E731
    with make() as client:
        alive = scratch_of(client)
        assert stat.S_IMODE(alive.stat().st_mode) == 0o700
        host, process, name = alive.name.split("-", 2)
        dead = alive.with_name(f"{host}-{2**22 + 1}-{name}")
        (dead / "job" / "input").mkdir(parents=True)
        other = tmp_path / "something-else"
        other.mkdir()
        with make() as second:
            assert not dead.exists()
            assert alive.exists()
            assert scratch_of(second) != alive
    assert [path.name for path in tmp_path.iterdir()] == ["something-else"]
    assert int(process)
