"""`chatward serve`: the moderation service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatward.errors import UsageError
from chatward.faces.cli.options import AgreementOption, ModelOption, PrecisionOption, ThreadsOption, needs

KeysOption = Annotated[
    Path | None,
    typer.Option(
        help="File of API keys, made by `chatward keys add`. Left out, nobody needs one, on loopback only."
    ),
]


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback's needs --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="What decides: streamer, community, strict, or a file of one's own. Left out, messages are classified and nothing is decided or recorded.",
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="Where decisions are recorded: an SQLite file, or postgresql://USER@HOST/DATABASE. chatward-ledger.db if left out.",
            envvar="CHATWARD_LEDGER",
            show_envvar=True,
        ),
    ] = None,
    keys: KeysOption = None,
    secret: Annotated[
        Path | None,
        typer.Option(
            help="File of the secret by which players' names are hashed; made if it isn't there. Beside the record if left out."
        ),
    ] = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Record players' names too, not just their keyed hashes.")
    ] = False,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Record no message's text; who reviews sees scores only.")
    ] = False,
    retention_days: Annotated[
        int, typer.Option(help="Days after which records are forgotten; 0 for never.", min=0)
    ] = 90,
    queue: Annotated[
        int, typer.Option(help="Messages that may wait; more are refused with 429.", min=1, max=100_000)
    ] = 300,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    agreement: AgreementOption = 1.0,
    precision: PrecisionOption = None,
) -> None:
    """Serve predictions and decisions over HTTP and WebSocket, with Perspective's and OpenAI's endpoints, and a page to review them."""
    with needs("serve", "`chatward serve`"):
        from chatward.faces.api import server
        from chatward.faces.api.service import Service, Settings
    from chatward.faces.listening import is_loopback, listen, url_of

    if policy is None and (ledger or keep_names or no_text or secret):
        raise UsageError(
            "nothing is recorded without a policy: give --policy community, streamer, strict or a file, or leave out what is about the record "
            "(--ledger and the variable CHATWARD_LEDGER, which counts as well, --secret, --keep-names, --no-text)"
        )
    # The port first: it is told of a wrong address that it is none, not that it needs keys.
    with listen(host, port, "serve") as listener:
        if keys is None and not is_loopback(host):
            raise UsageError(
                f"--host {host} opens the service to the network, and it has no keys: make one with `chatward keys add NAME --keys keys.json`, "
                "and give --keys keys.json"
            )
        service = Service(
            Settings(
                model=model,
                agreement=agreement,
                precision=precision,
                threads=threads,
                queue=queue,
                policy=policy,
                ledger=ledger,
                secret=secret,
                keep_names=keep_names,
                keep_text=not no_text,
                retention_days=retention_days or None,
                keys=keys,
            )
        )
        server.serve(service, listener, url_of(host, port))
