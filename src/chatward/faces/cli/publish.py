"""`chatward publish`: a model folder to the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from chatward.faces.cli.options import needs

_LONGEST_CARD: Final = 200_000
_MANY: Final = 5  # files of a folder that are shown one by one

if TYPE_CHECKING:
    from chatward.publishing.access import Target
    from chatward.publishing.stage import Staged
    from chatward.publishing.upload import Uploaded

TokenOption = Annotated[
    str | None,
    typer.Option(
        help="Token with write access. Others on this machine can read command lines: HF_TOKEN, or `hf auth login`, is safer.",
        show_default=False,
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(help="Address of another Hub; HF_ENDPOINT, or https://huggingface.co, if left out."),
]
PrivateOption = Annotated[bool, typer.Option("--private", help="Let nobody else see it, where it is made new.")]
PrOption = Annotated[
    bool,
    typer.Option("--pr", help="Propose the change as a pull request to what is there, instead of making it."),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check and try out everything, show what would be uploaded, and upload nothing."
    ),
]
KeepOption = Annotated[
    Path | None, typer.Option(help="Folder to keep what is uploaded in, to read it; must not exist yet.")
]


def publish(
    repo: Annotated[str, typer.Option(help="Where: USER/NAME.")],
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Folder that `chatward train` or `chatward convert` wrote; the model that ships with chatward if left out.",
        ),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(help="Licence of the model, as the Hub spells it: apache-2.0; the recipe's if left out."),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            help="Markdown for the card: use, data and their licences, limits; in the place of the recipe's, or for a model whose recipe has none."
        ),
    ] = None,
    private: PrivateOption = False,
    pr: PrOption = False,
    dry_run: DryRunOption = False,
    out: KeepOption = None,
    token: TokenOption = None,
    endpoint: EndpointOption = None,
) -> None:
    """Publish a model on the Hugging Face Hub, so that plain transformers and chatward load it by name. Everything is checked before anything is uploaded."""
    from chatward import __version__
    from chatward.artifact import default_model, new_folder, read_manifest, verify
    from chatward.errors import UsageError
    from chatward.publishing.access import open_target
    from chatward.publishing.card import check_card, check_words
    from chatward.publishing.upload import check_sizes, upload

    folder = model or default_model()
    added = _added(card)
    verify(folder, read_manifest(folder))
    if out and out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"--out {str(out)!r} lies in the model folder, which would be spoiled by it: give one elsewhere"
        )
    check_words(folder, license, added)
    target = open_target(repo, "model", token=token, endpoint=endpoint, private=private, pr=pr)
    say(
        f"{repo}: {described(target)}; the token of {target.source} may write there"
        if not pr
        else f"{repo}: {described(target)}"
    )
    with needs("train", "`chatward publish`"):  # takes seconds to load: what can't be is told before
        from chatward.publishing.stage import stage
    say("making it and trying it out in transformers...")
    with new_folder(out) as scratch:
        staged = stage(folder, repo, scratch, license=license, added=added)
        check_sizes(staged.files)
        check_card(target, staged.card)
        _show(staged)
        if dry_run:
            say_kept_back(target, out)
            return
        done = upload(
            target,
            scratch,
            staged.files,
            f"Publish {repo.partition('/')[2]} with chatward {__version__}",
            bars=sys.stderr.isatty(),
        )
        if say_done(target, done) and not pr:
            say(
                f'Try it: chatward predict --model {repo} "gg wp"; in Python, Detector.load("{repo}@{done.commit}")'
            )


def _added(card: Path | None) -> str:
    from chatward.errors import DataNotFoundError, NotUtf8Error, UsageError

    try:
        text = card.read_text(encoding="utf-8-sig") if card else ""
    except OSError as error:
        raise DataNotFoundError(
            f"--card {str(card)!r} can't be read ({error.strerror}): give a Markdown file"
        ) from None
    except UnicodeDecodeError:
        raise NotUtf8Error(f"--card {str(card)!r} isn't UTF-8 text: save it so") from None
    if len(text) > _LONGEST_CARD or text.startswith("---\n"):
        why = (
            "begins with front matter, which is made from the record"
            if text.startswith("---\n")
            else "is longer than 200,000 characters"
        )
        raise UsageError(f"--card {str(card)!r} {why}: give a few paragraphs of Markdown")
    return text


def described(target: Target) -> str:
    """Say what stands at *target* now."""
    seen = "private" if target.private else "public"
    return f"will be made, {seen}" if target.parent is None else f"is there, {seen}, at {target.parent[:12]}"


def say_kept_back(target: Target, out: Path | None) -> None:
    """Say that a dry run is over."""
    kept = f"; it is kept in {out}" if out else ""
    say(f"Nothing was uploaded{kept}. Leave out --dry-run to publish it as {target.url}")


def say_done(target: Target, done: Uploaded) -> bool:
    """Say what came of an upload; return whether anything was changed or proposed."""
    private_too = " (private)" if target.private else ""
    if not done.new:
        say(f"{target.url} has all of this already: nothing was changed")
    elif target.pr:
        say(f"Proposed: {done.url}{private_too}")
    else:
        say(f"Published: {target.url}{private_too}, commit {done.commit}")
    return done.new


def say(line: str) -> None:
    """Print *line* as it stands, on stderr: stdout is for results."""
    typer.echo(line, err=True)


def _show(staged: Staged) -> None:
    found = staged.rehearsal
    say(
        f"tried out on {found.messages:,} invented messages: transformers and chatward differ by {found.apart:.1g} at most"
        + (
            f"; int8 by {found.int8_largest:.3f}, with {100 * (found.int8_labels or 0):.2f} % of labels the same"
            if found.int8_largest is not None
            else ""
        )
    )
    list_files(staged.files)


def list_files(files: dict[str, int]) -> None:
    """Print what is uploaded, with its sizes; of a folder with many files only how many."""
    shown: dict[str, list[int]] = {}
    for name, size in files.items():
        top = name.partition("/")[0]
        many = sum(other.startswith(f"{top}/") for other in files) > _MANY
        shown.setdefault(f"{top}/" if many else name, []).append(size)
    shown[f"{len(files)} files"] = [sum(files.values())]
    wide = max(map(len, shown))
    for name, sizes in shown.items():
        size = sum(sizes)
        told = f"{size / 1e6:7.1f} MB" if size >= 1e6 else f"{size / 1e3:7.1f} kB"
        typer.echo(f"  {name:<{wide}}  {told}" + (f"  ({len(sizes)} files)" if len(sizes) > 1 else ""))
