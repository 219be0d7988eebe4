"""How the review page's HTML is made and sent: templates, headers, languages, and a page for whatever goes wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from chatward.errors import ChatwardError, LedgerFullError, LedgerUnavailableError
from chatward.faces.api.keys import KEY, LOCAL, Key
from chatward.faces.api.problems import code_of, response_of, status_of
from chatward.faces.api.review_cards import KINDS, visible
from chatward.faces.api.review_languages import WORDS, language_of
from chatward.faces.api.review_words import Words, grouped
from chatward.schema import LABELS

if TYPE_CHECKING:
    from chatward.moderation.entries import Verdict

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    # Not "no-referrer", for which browsers send `Origin: null` with forms: the guard couldn't tell this page's from another's.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""What each answer of the review page carries."""

_COMMANDS: Final = {
    "scope_missing": "chatward keys add NAME --space COMMUNITY --scope review",
    "no_policy": "chatward serve --policy community",
}
_ASK_AGAIN_SECONDS: Final = 3


@dataclass(frozen=True)
class Visit:
    """A request for a page. fields: of the address, or of the form that was sent. token: what this visitor's forms must send along; empty where nobody knows."""

    request: Request
    fields: Mapping[str, str]
    words: Words
    token: str = ""

    @classmethod
    def of(cls, request: Request, fields: Mapping[str, str], token: str = "") -> Visit:
        """Return the visit, in the language it asks for."""
        code = language_of(fields.get("lang"), request.headers.get("accept-language", ""))
        return cls(request, fields, WORDS[code], token)

    @property
    def key(self) -> Key | None:
        """Whose visit it is; None where nobody needs to have signed in, and nobody has."""
        key: Key | None = self.request.scope.get(KEY)
        return key

    def field(self, name: str) -> str:
        """Return a field's value; empty where it wasn't sent."""
        return self.fields.get(name, "")

    def url(self, path: str, **fields: str | None) -> str:
        """Return the address of another page, in this one's language where that was asked for by address."""
        if "lang" not in fields and self.field("lang") in WORDS:
            fields["lang"] = self.field("lang")
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"{path}?{query}" if query else path

    def in_language(self, code: str) -> str:
        """Return the address of this page in another language; of the queue where this one answers a form."""
        if self.request.method != "GET":
            return self.url("/review", lang=code)
        fields = {name: self.fields[name] for name in ("after", "done") if name in self.fields}
        return self.url(self.request.url.path, **fields, lang=code)


def page(visit: Visit, template: str, status: int = 200, **context: Any) -> Response:
    """Return what *template* makes of *context*."""
    key = visit.key
    html = _TEMPLATES.get_template(template).render(
        t=visit.words,
        url=visit.url,
        visit=visit,
        key=key,
        signed_in=bool(visit.token) and key is not None and key is not LOCAL,
        style=f"/review/style.css?v={_version(STYLE)}",
        script=f"/review/script.js?v={_version(SCRIPT)}",
        now=datetime.now(UTC),
        **context,
    )
    headers = {**HEADERS, "content-language": visit.words.code}
    return Response(html.encode("utf-8", "replace"), status, headers, "text/html; charset=utf-8")


def problem(visit: Visit, error: ChatwardError) -> Response:
    """Return the page that says what went wrong and what to do."""
    code = code_of(error)
    known = visit.words.problems.get(code)
    posted = visit.request.method == "POST"
    # What couldn't be recorded can be sent again as it was.
    unrecorded = isinstance(error, LedgerUnavailableError | LedgerFullError)
    response = page(
        visit,
        "problem.html.j2",
        status_of(error),
        code=code,
        told=known or (visit.words.problem, str(error)),
        known=known is not None,
        command=_COMMANDS.get(code),
        again=dict(visit.fields) if posted and unrecorded else {},
        refresh=_ASK_AGAIN_SECONDS if code == "starting" and not posted else None,
    )
    if wait := response_of(visit.request.url.path, error).headers.get("retry-after"):
        response.headers["retry-after"] = wait
    return response


def refused(scope: Any, error: ChatwardError) -> Response:
    """Return the page that tells a visitor of *error*, for which the guard let them no further."""
    return problem(Visit.of(Request(scope), {}), error)


def see(place: str) -> Response:
    """Return what sends the browser on to *place*."""
    return Response(status_code=303, headers={**HEADERS, "location": place})


def file(visit: Visit, text: str, kind: str) -> Response:
    """Return a file of the page's own; the browser may keep it where it was asked for by its version."""
    headers = dict(HEADERS)
    if visit.field("v") == _version(text):
        headers["cache-control"] = "max-age=31536000, immutable"
    return Response(text, 200, headers, kind)


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _filled(text: str, **parts: str) -> Markup:
    """Return *text* with its braces filled in, each part in an element of its own: a `<kbd>` for a key, `<code>` for what is longer."""
    elements = {
        name: Markup("<{0}>{1}</{0}>").format("kbd" if len(part) == 1 else "code", part)
        for name, part in parts.items()
    }
    return escape(text).format(**elements)


def _given(verdict: Verdict, words: Words) -> str:
    """Return a verdict in words."""
    label = words.labels[LABELS.index(verdict.label)] if verdict.label else ""
    return words.given[verdict.verdict].format(label=label)


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("chatward.faces.api", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.globals |= {"KINDS": KINDS, "LABELS": LABELS, "LANGUAGES": WORDS}
    templates.filters |= {"filled": _filled, "given": _given, "grouped": grouped, "visible": visible}
    return templates


_TEMPLATES: Final = _templates()
STYLE: Final = _TEMPLATES.get_template("review.css").render()
SCRIPT: Final = _TEMPLATES.get_template("review.js.j2").render()
