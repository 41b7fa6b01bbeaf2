"""Who may read the status page, and from where: the rules of its address, token and headers."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from projector.listen import is_loopback

COOKIE: Final = "projector_status"
HEALTH_PATH: Final = "/health"
"""Open to all who can connect: it says one word."""

# Nothing from elsewhere, nothing inline, in nobody's frame.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Lets through who knows the token; without a token, who asks for this machine by its name.

    The latter keeps a page from elsewhere, whose name was made to lead to loopback, from reading
    ours in the operator's browser.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._token = token
        # Not the token itself: a cookie is kept on disk.
        self._cookie = hmac.new(token.encode(), b"status page", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await (refusal or self.app)(scope, receive, protected)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["path"] == HEALTH_PATH:
            return None
        headers = Headers(scope=scope)
        if not self._token:
            host = headers.get("host", "").rpartition("@")[2]
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
            if is_loopback(name.removeprefix("[").removesuffix("]")):
                return None
            return PlainTextResponse("This page is at 127.0.0.1 or localhost.\n", 403)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        for key, value in query:
            if key == "token" and self._is(value, self._token):
                return self._welcome(scope["path"], [pair for pair in query if pair[0] != key])
        if self._knows(headers):
            return None
        return PlainTextResponse(
            "A token is needed: open /?token=… once, or send Authorization: Bearer …\n",
            401,
            {"www-authenticate": "Bearer"},
        )

    def _welcome(self, path: str, query: list[tuple[str, str]]) -> Response:
        # The token leaves the address at once, and so the browser's history. One slash: two would
        # name another host.
        place = "/" + path.lstrip("/\\")
        reply = RedirectResponse(f"{place}?{urlencode(query)}" if query else place, 303)
        reply.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict")
        return reply

    def _knows(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is(given.strip(), self._token):
            return True
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and self._is(morsel.value, self._cookie)

    @staticmethod
    def _is(given: str, secret: str) -> bool:
        return hmac.compare_digest(given.encode(), secret.encode())
