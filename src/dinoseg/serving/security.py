"""Who may speak to the server: its own page and programs that hold the token, under its own names."""

from __future__ import annotations

import base64
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinoseg.serving.options import ServeOptions, is_loopback, read_address
from dinoseg.serving.refusals import refuse

COOKIE = "dinoseg_token"
# What a supervisor asks, which says nothing of anybody, and where a viewer gives the token as a password.
OPEN_PATHS = frozenset({"/health", "/ready", "/auth/", "/auth/token"})
HEAD_BYTES = 32 << 10  # of all headers of a request
METHODS = "GET, POST, PUT, DELETE"
_POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "style-src 'self' 'unsafe-inline'",
        "worker-src 'self' blob:",
        "connect-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_FOREIGN_SITES = ("cross-site", "same-site")  # of Sec-Fetch-Site; another port of this machine is "same-site"


class Guard:
    """Refuses other hosts' names, other origins' pages and wrong tokens, and adds headers to every answer.

    Args:
        app: what is guarded.
        options: the names, the origins and the token.
    """

    def __init__(self, app: ASGIApp, *, options: ServeOptions) -> None:
        self.app = app
        self.options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            answer = self._answer(scope)
            await (answer or self.app)(scope, receive, self._adding_headers(scope, send))

    def _answer(self, scope: Scope) -> Response | None:
        """The answer to a request that goes no further; None for one that does."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_BYTES:
            return refuse(431, f"the headers have more than {HEAD_BYTES:,} bytes", {"Connection": "close"})
        headers = Headers(scope=scope)
        return (
            self._check_host(headers)
            or self._check_origin(scope, headers)
            or self._check_token(scope, headers)
        )

    def _check_host(self, headers: Headers) -> Response | None:
        given = headers.getlist("host")
        if len(given) != 1 or not given[0]:
            return refuse(400, "the header Host is missing or stands twice")
        host = split_host(given[0])
        if host is None or not self._is_ours(host):
            return refuse(
                421,
                f"this server is not called {given[0][:80]!r}; ask it by its address, or start it with "
                "--allow-host NAME",
            )
        return None

    def _is_ours(self, host: str) -> bool:
        # A name that somebody else resolves to our address must not work; an address is resolved by nobody.
        if host in map(str.lower, self.options.names) or is_loopback(host):
            return True
        if host == self.options.host.lower():
            return True
        return not self.options.is_local and read_address(host) is not None

    def _check_origin(self, scope: Scope, headers: Headers) -> Response | None:
        origin = headers.get("origin")
        if origin in self.options.origins:
            return _allow_preflight(scope, headers)
        if origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower():
            return refuse(
                403,
                f"a page of {origin[:80]!r} may not call this server; start it with --allow-origin to let it",
            )
        if (
            origin is None
            and headers.get("sec-fetch-site") in _FOREIGN_SITES
            and not _is_link(scope, headers)
        ):
            return refuse(403, "a page of another site may not call this server")
        return None

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        token = self.options.token
        if token is None or scope["path"] in OPEN_PATHS:
            return None
        asked = _find_query_token(scope)
        if asked is not None:
            return _set_cookie(scope, token) if is_token(asked, token) else _refuse_token()
        given = (_find_bearer(headers), _find_password(headers), _find_cookie(headers))
        return None if any(is_token(each, token) for each in given) else _refuse_token()

    def _adding_headers(self, scope: Scope, send: Send) -> Send:
        origin = Headers(scope=scope).get("origin")

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static"):
                    headers.setdefault("Cache-Control", "no-store")
                if origin in self.options.origins:
                    _allow_origin(headers, str(origin))
            await send(message)

        return add


def split_host(text: str) -> str | None:
    """The name or address of `HOST[:PORT]` in lower case; None where that is none."""
    try:
        found = urlsplit(f"//{text}")
        _ = found.port  # raises where it is none
    except ValueError:
        return None
    is_whole = found.netloc == text and "@" not in text and not (found.path or found.query or found.fragment)
    return found.hostname if is_whole else None


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Whether a person followed a link to a page, which shows the other site nothing."""
    return scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"


def _allow_preflight(scope: Scope, headers: Headers) -> Response | None:
    if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
        return None
    allowed = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": "Authorization, Content-Type",
        "Access-Control-Max-Age": "600",
    }
    return Response(status_code=204, headers=allowed)


def _allow_origin(headers: MutableHeaders, origin: str) -> None:
    headers["Access-Control-Allow-Origin"] = origin
    headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    headers.add_vary_header("Origin")


def _find_query_token(scope: Scope) -> str | None:
    """The token that opens the page by a link, in `/?token=`."""
    if scope["method"] != "GET" or scope["path"] not in ("/", "/teach"):
        return None
    return dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token")


def _find_bearer(headers: Headers) -> str | None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _find_password(headers: Headers) -> str | None:
    """The token as the password of basic authentication, which is all that some programs know."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return None


def _find_cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def is_token(given: str | None, token: str) -> bool:
    """Whether what was given is the token, in a time that does not tell how much of it is."""
    return hmac.compare_digest((given or "").encode("utf-8", "replace"), token.encode())


def _refuse_token() -> Response:
    return refuse(
        401,
        "the token is missing or wrong; send it as Authorization: Bearer TOKEN, or open /?token=TOKEN",
        {"WWW-Authenticate": "Bearer"},
    )


def _set_cookie(scope: Scope, token: str) -> Response:
    """Keep the token where scripts cannot read it, and take it out of the address."""
    rest = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] != "token"]
    place = f"{scope['path']}?{urlencode(rest)}" if rest else str(scope["path"])
    answer = RedirectResponse(place, 303)
    secure = scope.get("scheme") == "https"
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
    return answer
