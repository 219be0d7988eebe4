"""The web page as a Gradio Space: a few files that install chatward and serve one model."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import chatward
from chatward import artifact
from chatward.errors import ManifestError, ModelNotFoundError, OutputError, UsageError
from chatward.hub.download import parts_of
from chatward.publishing.access import Target
from chatward.publishing.answers import told

_LICENSE: Final = "apache-2.0"  # of the page; the model has its own
# What the page doesn't run: of the package only what answers and what is shown goes along.
_LEFT_OUT: Final = (
    "__pycache__",
    "__main__.py",
    "api",
    "carbon",
    "cli",
    "data",
    "evaluation",
    "lab",
    "models",
    "moderation",
    "publishing",
    "tables",
    "training",
)

_APP: Final = '''"""The page of chatward over {repo}, as `chatward app --model {model}` serves it."""

import os

from chatward.faces.web import serve

host, port = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
serve(host, port, "{model}")
'''

_README: Final = """# {title}

Type a line of game chat, see how toxic it is and which of its words make it so. The model is [{repo}]({endpoint}/{repo}) at commit
`{revision}`; its card says what it was measured on and what it is bad at. What is typed is answered and forgotten.

The same page on your own machine: `chatward app --model {model}`.
"""


@dataclass(frozen=True)
class Served:
    """The model that a Space serves, at one commit. private: whether only a token of its owner sees it."""

    repo: str
    revision: str
    private: bool

    @property
    def model(self) -> str:
        """Its name with its commit."""
        return f"{self.repo}@{self.revision}"


def find_model(model: str, target: Target) -> Served:
    """Return *model*, USER/NAME or USER/NAME@REVISION at the Hub of *target*, at its commit of now.

    Raises UsageError (no name), ModelNotFoundError (it isn't there), ManifestError (no chatward model) and HubError.
    """
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    repo, revision = parts_of(model)
    with told(repo, target.source, target.token), tempfile.TemporaryDirectory() as scratch:
        try:
            info = target.api.model_info(repo, revision=revision)
            path = target.api.hf_hub_download(
                repo, artifact.MANIFEST_FILE, revision=info.sha, local_dir=scratch
            )
            artifact.read_manifest(Path(path).parent)
        except RepositoryNotFoundError:
            raise ModelNotFoundError(
                f"there is no model {repo!r} at the Hub, or your token may not see it: publish one first, with `chatward publish --repo {repo}`"
            ) from None
        except RevisionNotFoundError:
            raise ModelNotFoundError(
                f"{repo!r} has no revision {revision!r}: leave it out for the newest"
            ) from None
        except EntryNotFoundError:
            raise ManifestError(
                f"{repo!r} isn't a chatward model: publish one with `chatward publish`, made of it by `chatward convert` where it is a classifier"
            ) from None
    return Served(repo, str(info.sha), bool(info.private))


def from_index() -> bool:
    """Whether this chatward was installed from a package index, so that a Space can install it from there as well."""
    try:
        return importlib.metadata.distribution("chatward").read_text("direct_url.json") is None
    except importlib.metadata.PackageNotFoundError:
        return False


def write_space(out: Path, served: Served, pinned: bool) -> None:
    """Write into the empty folder *out* what a Space runs: app.py and requirements.txt; its card comes last, with `write_card`.

    pinned: whether the Space installs this version of chatward from the package index; else the package itself is copied into it, without models, and only
    what it needs is installed. Raises OutputError.
    """
    try:
        (out / "app.py").write_text(_APP.format(repo=served.repo, model=served.model), encoding="utf-8")
        wanted = [f"chatward[app]=={chatward.__version__}"] if pinned else _needed()
        (out / "requirements.txt").write_text("\n".join(wanted) + "\n", encoding="utf-8")
        if not pinned:
            package = Path(chatward.__file__).parent
            shutil.copytree(package, out / "chatward", ignore=shutil.ignore_patterns(*_LEFT_OUT))
            if licence := _licence():
                (out / "chatward" / "LICENSE").write_text(licence, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"the Space can't be written to {str(out)!r} ({error.strerror}): make room there"
        ) from None


def _licence() -> str:
    try:
        found = importlib.metadata.distribution("chatward").read_text("licenses/LICENSE")
    except importlib.metadata.PackageNotFoundError:
        return ""
    return found or ""


def _needed() -> list[str]:
    """Return the requirements of the page, as the package's own metadata has them."""
    try:
        listed = importlib.metadata.requires("chatward") or []
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            "chatward isn't installed here, so nobody knows what it needs: install it with pip"
        ) from None
    parts = [line.partition(";") for line in listed]
    extras = ("", 'extra == "app"', "extra == 'app'")
    return sorted(name.strip() for name, _, when in parts if when.strip() in extras)


def write_card(out: Path, target: Target, served: Served, title: str, gradio: str) -> str:
    """Write the Space's README.md, whose front matter tells the Hub how to run it, and return it. gradio: the version it runs.

    Raises ManifestError where huggingface_hub's own class doesn't take it.
    """
    from huggingface_hub import SpaceCard, SpaceCardData

    data = SpaceCardData(
        title=title,
        emoji="🛡️",
        colorFrom="indigo",
        colorTo="green",
        sdk="gradio",
        sdk_version=gradio,
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license=_LICENSE,
        models=[served.repo],
        tags=["chatward", "toxicity", "moderation", "game-chat"],
        short_description="How toxic is a line of game chat?",
        pinned=False,
    )
    body = _README.format(
        title=title,
        repo=served.repo,
        model=served.model,
        revision=served.revision[:12],
        endpoint=target.api.endpoint,
    )
    text = f"---\n{data.to_yaml()}\n---\n\n{body}"
    if str(SpaceCard(text).data) != str(data):
        raise ManifestError(f"the card of the Space {target.repo!r} doesn't read back as it was written")
    (out / artifact.CARD_FILE).write_text(text, encoding="utf-8")
    return text
