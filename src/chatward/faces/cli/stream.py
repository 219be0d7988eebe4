"""`chatward stream`: a worker on Redis Streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatward.faces.cli.options import AgreementOption, ModelOption, PrecisionOption, ThreadsOption, needs


def stream(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="redis://HOST:PORT/DATABASE/STREAM",
            help="Stream to read messages from; rediss:// with TLS, unix:///PATH/DATABASE/STREAM for a socket.",
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="STREAM|redis://...",
            help="Stream to write answers to: a name beside the other, or an address of its own.",
        ),
    ],
    group: Annotated[str, typer.Option(help="Consumer group whose workers share the stream.")] = "chatward",
    consumer: Annotated[
        str | None,
        typer.Option(help="This worker's name in the group; host and process number if left out."),
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            metavar="0|$",
            help="Where a new group begins: 0 with all that is in the stream, $ with what comes from now on.",
        ),
    ] = "0",
    text_field: Annotated[str, typer.Option(help="Field of an entry that holds the message.")] = "message",
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Field of an entry that its answer has, too; give the option once for each."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Entries to read at once.", min=1, max=2000)] = 512,
    block_ms: Annotated[
        int,
        typer.Option(
            help="Milliseconds to wait for entries before looking for others' again.", min=10, max=10_000
        ),
    ] = 1000,
    claim_after: Annotated[
        float,
        typer.Option(
            help="Seconds after which what a worker has read and not answered is taken over.", min=1, max=86400
        ),
    ] = 30.0,
    max_deliveries: Annotated[
        int, typer.Option(help="Deliveries after which an entry is put aside.", min=2, max=100)
    ] = 5,
    dead: Annotated[
        str | None,
        typer.Option(
            metavar="STREAM",
            help="Stream for entries that can't be answered; NAME:dead beside the one read if left out.",
        ),
    ] = None,
    max_length: Annotated[
        int,
        typer.Option(
            help="Entries to leave, about, in the stream of answers and in that of the dead: the oldest go. 0 for all.",
            min=0,
        ),
    ] = 1_000_000,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the password for servers whose address has none; the variable CHATWARD_REDIS_PASSWORD if left out."
        ),
    ] = None,
    give_up_after: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="End when a server is away for so long; never if left out.", min=1
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port for /metrics (Prometheus), /healthz and /livez; none if left out.", min=1, max=65535
        ),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address to answer these on; 0.0.0.0 for the whole network.")
    ] = "127.0.0.1",
    model: ModelOption = None,
    threads: ThreadsOption = None,
    agreement: AgreementOption = 1.0,
    precision: PrecisionOption = None,
) -> None:
    """Answer the messages of a Redis stream on another, each at least once, as one of any number of workers (docs/stream.md)."""
    with needs("redis", "`chatward stream`"):
        from chatward.faces.stream.starting import Options
        from chatward.faces.stream.starting import start as work

    work(
        Options(
            source=source,
            target=target,
            group=group,
            consumer=consumer,
            start=start,
            text_field=text_field,
            keep=tuple(keep or ()),
            batch=batch,
            block_ms=block_ms,
            claim_after=claim_after,
            max_deliveries=max_deliveries,
            dead=dead,
            max_length=max_length,
            password_file=password_file,
            give_up_after=give_up_after,
            metrics_port=metrics_port,
            metrics_host=metrics_host,
            model=model,
            threads=threads,
            agreement=agreement,
            precision=precision,
        )
    )
