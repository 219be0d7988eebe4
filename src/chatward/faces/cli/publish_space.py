"""`chatward publish-space`: the web page to the Hugging Face Hub, as a Space."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from chatward.faces.cli.publish import (
    DryRunOption,
    EndpointOption,
    KeepOption,
    PrivateOption,
    PrOption,
    TokenOption,
    described,
    list_files,
    say,
    say_done,
    say_kept_back,
)

_LONGEST_TITLE: Final = 100


def publish_space(
    repo: Annotated[str, typer.Option(help="Where: USER/NAME of the Space.")],
    model: Annotated[
        str, typer.Option(help="The model it serves, as the Hub has it: USER/MODEL or USER/MODEL@REVISION.")
    ],
    title: Annotated[str | None, typer.Option(help="Its title; the repository's name if left out.")] = None,
    pinned: Annotated[
        bool | None,
        typer.Option(
            "--pin-package/--copy-package",
            help="Whether the Space installs chatward from the package index, or has a copy of it; as it was installed here if left out.",
            show_default=False,
        ),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--try-out/--no-try-out", help="Install and start it here first, in an empty virtual environment."
        ),
    ] = True,
    private: PrivateOption = False,
    pr: PrOption = False,
    dry_run: DryRunOption = False,
    out: KeepOption = None,
    token: TokenOption = None,
    endpoint: EndpointOption = None,
) -> None:
    """Publish the web page as a Gradio Space over a published model, pinned to its commit of now. It is run here first."""
    from chatward import __version__
    from chatward.artifact import new_folder
    from chatward.errors import UsageError
    from chatward.publishing.access import open_target
    from chatward.publishing.card import check_card
    from chatward.publishing.space import find_model, from_index, write_card, write_space
    from chatward.publishing.tryout import current_gradio, try_out
    from chatward.publishing.upload import files_of, upload

    if title is not None and not (0 < len(title) <= _LONGEST_TITLE and title.isprintable()):
        raise UsageError(f"--title is {title[:40]!r}: give a line of up to {_LONGEST_TITLE} characters")
    target = open_target(repo, "space", token=token, endpoint=endpoint, private=private, pr=pr)
    served = find_model(model, target)
    say(f"{repo}: {described(target)}; it will serve {served.model}")
    if pinned is None:
        pinned = from_index()
    with new_folder(out) as scratch:
        write_space(scratch, served, pinned)
        if rehearse:
            say("trying it out in an empty environment (a minute or two)...")
            found = try_out(scratch, target.api.endpoint, target.token if served.private else None)
            gradio = found.gradio
            say(
                f"it answers {found.seconds:.0f} s after its start: 'gg wp everyone' is {found.answer['label']}, with gradio {gradio}"
            )
        else:
            gradio = current_gradio()
        check_card(target, write_card(scratch, target, served, title or repo.partition("/")[2], gradio))
        files = files_of(scratch)
        list_files(files)
        if dry_run:
            say_kept_back(target, out)
            return
        done = upload(
            target,
            scratch,
            files,
            f"The page over {served.model}, with chatward {__version__}",
            sys.stderr.isatty(),
        )
        if say_done(target, done) and served.private:
            say(
                f"{served.repo} is private: give the Space a secret HF_TOKEN that may read it, at {target.url}/settings"
            )
