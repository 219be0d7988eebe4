"""`chatward app`: the web page."""

from __future__ import annotations

from typing import Annotated

import typer

from chatward.faces.cli.options import ModelOption


def app_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 7860,
    model: ModelOption = None,
) -> None:
    """Open the web page: type a message, see the three probabilities."""
    from chatward.faces.web import serve

    serve(host, port, model)
