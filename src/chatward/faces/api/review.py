"""The review page: what waits for a moderator, and their verdicts, as plain HTML that needs no script."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chatward.errors import ChatwardError, ForbiddenError, RecordNotFoundError, UnauthorisedError
from chatward.faces.api import review_pages
from chatward.faces.api.endpoints import training_lines
from chatward.faces.api.keys import Key, key_of
from chatward.faces.api.problems import HttpError, code_of, status_of, unforeseen
from chatward.faces.api.review_cards import card_of, excerpt
from chatward.faces.api.review_pages import HEADERS, Visit, file, page, problem, see
from chatward.faces.api.service import Service
from chatward.faces.api.sessions import COOKIE, SECONDS, Sessions

if TYPE_CHECKING:
    from chatward.moderation.entries import Entry
    from chatward.moderation.ledger import Ledger

PAGE: Final = 25
"""Messages on a page of the queue."""

_MOST_FIELDS: Final = 20

Answer = Callable[[Visit], Awaitable[Response]]


def review_router(service: Service, sessions: Sessions) -> APIRouter:
    """Return the routes under /review. The guard before them has checked who asks."""
    pages = _Pages(service, sessions)
    router = APIRouter(include_in_schema=False)
    routes: tuple[tuple[str, str, Answer], ...] = (
        ("GET", "/review", pages.queue),
        ("GET", "/review/decision/{id}", pages.decision),
        ("POST", "/review/verdict", pages.verdict),
        ("GET", "/review/export", pages.export),
        ("GET", "/review/login", pages.door),
        ("POST", "/review/login", pages.login),
        ("POST", "/review/logout", pages.logout),
        ("GET", "/review/style.css", _style),
        ("GET", "/review/script.js", _script),
        ("GET", "/review/{rest:path}", _nothing_here),
    )
    for method, path, answer in routes:
        router.add_api_route(path, _endpoint(answer, sessions), methods=[method], response_model=None)
    return router


class _Pages:
    """What each route answers. All of them raise the errors of keys and of the record, which `_endpoint` makes pages of."""

    def __init__(self, service: Service, sessions: Sessions) -> None:
        self._service, self._sessions = service, sessions

    async def queue(self, visit: Visit) -> Response:
        space = _reviewer(visit).space
        after, done = visit.field("after"), visit.field("done")

        def look(ledger: Ledger) -> tuple[list[Entry], dict[str, int], Entry | None, str | None]:
            found: list[Entry] = []
            if after:
                with suppress(RecordNotFoundError):
                    found = ledger.queue(space, PAGE + 1, after)
            place = after if found else None
            found = found or ledger.queue(space, PAGE + 1)
            judged = None
            with suppress(RecordNotFoundError):
                judged = ledger.get(space, done) if done else None
            return found, ledger.counts(space), judged, place

        entries, counts, judged, place = await self._service.record(look)
        judged = judged if judged and judged.verdict else None
        return page(
            visit,
            "queue.html.j2",
            cards=[card_of(entry, visit.words) for entry in entries[:PAGE]],
            waiting=counts.pop("waiting"),
            counts=counts,
            judged=judged,
            excerpt=excerpt(judged) if judged else "",
            after=place,
            next=entries[PAGE - 1].id if len(entries) > PAGE else None,
        )

    async def decision(self, visit: Visit) -> Response:
        space, id = _reviewer(visit).space, visit.request.path_params["id"]
        return _whole(visit, await self._service.record(lambda ledger: ledger.get(space, id)))

    async def verdict(self, visit: Visit) -> Response:
        key = _reviewer(visit)
        id, seen = visit.field("id"), visit.field("seen")
        # A button sends one field: those that relabel send the label.
        label = visit.field("label") or None
        verdict = visit.field("verdict") or ("relabel" if label else "")
        label = label if verdict == "relabel" else None
        # Browsers count a line's end as one character, and send two.
        note = visit.field("note").replace("\r\n", "\n").strip()

        def give(ledger: Ledger) -> tuple[Entry, bool]:
            before = ledger.get(key.space, id)
            last = before.verdict
            if last and (last.verdict, last.label, last.by, last.note) == (verdict, label, key.name, note):
                return before, True  # the form was sent twice
            # As text: Python makes no number of 5,000 digits.
            if seen.isdecimal() and seen != str(len(before.verdicts)):
                return before, False
            return ledger.verdict(key.space, id, verdict, label, key.name, note, datetime.now(UTC)), True

        entry, recorded = await self._service.record(give)
        if not recorded:
            return _whole(visit, entry, 409, note)
        place = visit.url("/review", after=visit.field("after"), done=entry.id)
        following = visit.field("next")
        return see(f"{place}#d-{following}" if following.isalnum() and following.isascii() else place)

    async def export(self, visit: Visit) -> Response:
        space = _reviewer(visit).space
        lines = await self._service.record(lambda ledger: list(training_lines(ledger, space)))
        headers = {**HEADERS, "content-disposition": 'attachment; filename="overturned.csv"'}
        return Response("".join(lines).encode("utf-8", "replace"), 200, headers, "text/csv; charset=utf-8")

    async def door(self, visit: Visit) -> Response:
        if self._service.keys is None:
            return see(visit.url("/review"))
        return page(visit, "login.html.j2", refused=None, out=bool(visit.field("out")))

    async def login(self, visit: Visit) -> Response:
        if self._service.keys is None:
            return see(visit.url("/review"))
        try:
            key = self._service.keys.find(visit.field("secret").strip())
            key.may("review")
        except (UnauthorisedError, ForbiddenError) as error:
            return page(visit, "login.html.j2", status_of(error), refused=code_of(error), out=False)
        self._sessions.end(_cookies(visit.request))
        response = see(visit.url("/review"))
        response.set_cookie(
            COOKIE,
            self._sessions.begin(key.sha256),
            max_age=SECONDS,
            path="/review",
            secure=_came_safely(visit.request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def logout(self, visit: Visit) -> Response:
        self._sessions.end(_cookies(visit.request))
        response = see(visit.url("/review/login", out="1"))
        response.delete_cookie(COOKIE, path="/review", httponly=True, samesite="strict")
        return response


def _endpoint(answer: Answer, sessions: Sessions) -> Callable[[Request], Awaitable[Response]]:
    """Return *answer* as a route's endpoint, for which everything that goes wrong is a page, too."""

    async def endpoint(request: Request) -> Response:
        token = sessions.form_token(_cookies(request))
        visit = Visit.of(request, dict(request.query_params), token)
        try:
            if request.method == "POST":
                visit = Visit.of(request, await _form(request), token)
                _check_form(visit)
            return await answer(visit)
        except ChatwardError as error:
            return problem(visit, error)
        except Exception as error:
            unforeseen(request.url.path, error)
            told = "this went wrong here; the service's log says where"
            return problem(visit, HttpError(500, told, "internal"))

    return endpoint


async def _form(request: Request) -> Mapping[str, str]:
    """Return the fields of the form that was sent; raises HttpError where it isn't one."""
    body = await request.body()
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise HttpError(
            400, "what came isn't a form of the review page: open the page again", "invalid"
        ) from None
    return dict(fields)


def _check_form(visit: Visit) -> None:
    """Raise HttpError where the form isn't this page's own. To sign in takes no token: there is no session yet that it could be of."""
    of_another = visit.request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
    signing_in = visit.request.url.path == "/review/login"
    fits = hmac.compare_digest(visit.field("token").encode(), visit.token.encode())
    if of_another or not (signing_in or fits):
        raise HttpError(403, "the form isn't this page's: open the page again", "form")


def _reviewer(visit: Visit) -> Key:
    """Return the key of who asks; raises ForbiddenError where it may not review."""
    key = key_of(visit.request.scope)
    key.may("review")
    return key


def _whole(visit: Visit, entry: Entry, status: int = 200, note: str = "") -> Response:
    """Return the page of one decision. status: 409 where somebody else was quicker than the verdict that came with *note*."""
    quicker = entry.verdict if status == 409 else None
    card = card_of(entry, visit.words)
    return page(visit, "decision.html.j2", status, card=card, quicker=quicker, note=note)


async def _style(visit: Visit) -> Response:
    return file(visit, review_pages.STYLE, "text/css; charset=utf-8")


async def _script(visit: Visit) -> Response:
    return file(visit, review_pages.SCRIPT, "text/javascript; charset=utf-8")


async def _nothing_here(visit: Visit) -> Response:
    if not visit.request.path_params["rest"]:
        return see(visit.url("/review"))
    raise HttpError(404, "there is nothing here: open /review", "not_found")


def _cookies(request: Request) -> str:
    return request.headers.get("cookie", "")


def _came_safely(request: Request) -> bool:
    """Whether the browser came by HTTPS, to this service or to the proxy before it. Who lies about it only keeps their own browser from sending the cookie."""
    proxied = request.headers.get("x-forwarded-proto", "").split(",")[0].strip()
    return "https" in {request.url.scheme, proxied}
