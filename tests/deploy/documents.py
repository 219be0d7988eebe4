"""The files of `deploy`, read, and the linters, run as programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
SECRETS = KUBERNETES / "secrets.example.yaml"
HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent

OBJECT = ("--schemafile", str(HERE / "schemas" / "object.json"))
HOUSE_OBJECT = ("--schemafile", str(HERE / "rules" / "object.json"))
SPECIFICATION = ("--builtin-schema", "vendor.compose-spec")
HOUSE_COMPOSE = ("--schemafile", str(HERE / "rules" / "compose.json"))


def read(path: Path) -> Any:
    """Return the one document of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def manifests() -> list[Path]:
    """Return the files of Kubernetes objects, one object each."""
    found = sorted([*KUBERNETES.rglob("*.yaml"), *(DEPLOY / "ray").glob("*.yaml")])
    return [path for path in found if path.name != "kustomization.yaml" and path != SECRETS]


def lint(schema: Sequence[str], document: Any, folder: Path) -> str:
    """Return what `check-jsonschema` finds wrong with *document*; empty where it finds nothing."""
    file = folder / "document.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run(
        [PROGRAMS / "check-jsonschema", *schema, file], capture_output=True, text=True, timeout=120
    )
    assert done.returncode in {0, 1}, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout if done.returncode else ""


def hadolint(text: str) -> str:
    """Return what hadolint finds wrong with a Dockerfile of that text; empty where it finds nothing."""
    done = subprocess.run(
        [PROGRAMS / "hadolint", "--no-color", "--config", HERE / "rules" / "hadolint.yaml", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout if done.returncode else ""


def containers(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every container anywhere in an object."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"containers", "initContainers"}:
                yield from value
            else:
                yield from containers(value)
    elif isinstance(node, list):
        for value in node:
            yield from containers(value)


def command_lines() -> dict[str, list[str]]:
    """Return every command line of `chatward` in `deploy`, without the program's name, by where it stands."""
    settings = read(KUBERNETES / "base" / "settings.yaml")["data"]
    lines = {
        f"compose.yaml {name}": service["command"]
        for name, service in read(COMPOSE)["services"].items()
        if service["image"].startswith("chatward")
    }
    for path in manifests():
        document = read(path)
        where = path.relative_to(DEPLOY).as_posix()
        for container in containers(document):
            if "args" in container:
                lines[where] = [
                    settings[word[2:-1]] if word.startswith("$(") else word for word in container["args"]
                ]
        if document["kind"] == "RayJob":
            program, *rest = document["spec"]["entrypoint"].split()
            assert program == "chatward"
            lines[where] = rest
    return lines
