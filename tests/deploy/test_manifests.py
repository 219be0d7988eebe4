"""What stands in one file of `deploy` fits what stands in the others, in the Dockerfile and in the program."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer

from chatward.errors import LedgerError
from chatward.faces.api.keys import add_key, read_keys
from chatward.faces.cli.main import cli
from chatward.moderation.senders import read_secret
from tests.conftest import ROOT
from tests.deploy.documents import (
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    KUBERNETES,
    SECRETS,
    command_lines,
    containers,
    manifests,
    read,
)

BASE = KUBERNETES / "base"
GUIDE = ROOT / "docs" / "deployment.md"
LINES = command_lines()


def test_command_lines_are_found() -> None:
    assert list(LINES) == [
        "compose.yaml service",
        "compose.yaml worker",
        "kubernetes/base/service-deployment.yaml",
        "kubernetes/base/worker-deployment.yaml",
        "ray/rayjob.yaml",
    ]


def _parse(words: list[str]) -> dict[str, object]:
    """Parse *words* as the program would, to the last value, and do nothing else."""
    name, *rest = words
    command = typer.main.get_command(cli).commands[name]  # type: ignore[attr-defined]
    return dict(command.make_context(name, rest).params)


@pytest.mark.parametrize("where", LINES)
def test_a_command_line_is_one_of_the_program(where: str) -> None:
    assert _parse(LINES[where])


def test_a_wrong_command_line_would_be_noticed() -> None:
    line = LINES["compose.yaml worker"]
    for wrong in ([*line, "--no-such-option"], [word.replace("9100", "many") for word in line], line[:1]):
        with pytest.raises(Exception, match=r"(?i)no such option|valid integer|missing parameter"):
            _parse(wrong)


@pytest.mark.parametrize("kind", ["service", "worker"])
def test_compose_and_kubernetes_start_the_same(kind: str) -> None:
    mine = _parse(LINES[f"compose.yaml {kind}"])
    theirs = _parse(LINES[f"kubernetes/base/{kind}-deployment.yaml"])
    assert {key for key in mine if mine[key] != theirs[key]} == (
        {"keys", "secret"} if kind == "service" else set()
    )


@pytest.mark.parametrize("where", [where for where in LINES if LINES[where][0] == "stream"])
def test_streams_have_addresses_without_passwords(where: str) -> None:
    from chatward.faces.stream.addresses import address

    given = _parse(LINES[where])
    for option in ("source", "target"):
        found = address(str(given[option]), f"--{option}", None)
        assert (found.server, found.user, found.password) == ("redis:6379", None, None)


def test_the_autoscalers_watch_the_stream_that_is_read() -> None:
    line = LINES["kubernetes/base/worker-deployment.yaml"]
    settings = read(BASE / "settings.yaml")["data"]
    trigger = read(KUBERNETES / "worker-scaledobject.yaml")["spec"]["triggers"][0]["metadata"]
    source = line[line.index("--from") + 1]
    assert source == f"redis://{settings['REDIS_ADDRESS']}/{trigger['databaseIndex']}/{trigger['stream']}"
    assert line[line.index("--group") + 1] == trigger["consumerGroup"]
    (worker,) = containers(read(BASE / "worker-deployment.yaml"))
    assert trigger["passwordFromEnv"] in {entry["name"] for entry in worker["env"]}
    assert trigger["addressFromEnv"] in settings
    external = read(KUBERNETES / "external-metric" / "worker-hpa.yaml")["spec"]
    (metric,) = external["metrics"]
    metrics = (ROOT / "src" / "chatward" / "faces" / "stream" / "metrics.py").read_text(encoding="utf-8")
    assert f'"{metric["external"]["metric"]["name"]}"' in metrics
    assert metric["external"]["target"]["averageValue"] == trigger["lagCount"]


def test_autoscalers_and_budgets_name_what_is_there() -> None:
    documents = [read(path) for path in manifests()]
    labels = {d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] == "Deployment"}  # fmt: skip
    for document in documents:
        spec = document.get("spec", {})
        if "scaleTargetRef" in spec:
            assert spec["scaleTargetRef"]["name"] in labels
        if document["kind"] == "Service":
            assert spec["selector"] == labels["chatward"]
        if document["kind"] in {"Deployment", "PodDisruptionBudget"}:
            assert spec["selector"]["matchLabels"] == labels[document["metadata"]["name"]]
    # An autoscaler sets them: applied again, a number here would undo it.
    assert not any("replicas" in d["spec"] for d in documents if d["kind"] == "Deployment")


def test_secrets_that_are_asked_for_are_shown() -> None:
    shown = {d["metadata"]["name"]: set(d["stringData"]) for d in read(SECRETS)["items"]}
    asked: dict[str, set[str]] = {}
    for path in BASE.glob("*-deployment.yaml"):
        document = read(path)
        for container in containers(document):
            for entry in container.get("env", []):
                if reference := entry["valueFrom"].get("secretKeyRef"):
                    asked.setdefault(reference["name"], set()).add(reference["key"])
        for volume in document["spec"]["template"]["spec"]["volumes"]:
            if "secret" in volume:
                asked.setdefault(volume["secret"]["secretName"], set())
    assert set(asked) == set(shown)
    assert all(keys <= shown[name] for name, keys in asked.items())
    assert not {secret for d in read(SECRETS)["items"] for secret in d["stringData"].values()} - {"EXAMPLE"}


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=lambda p: p.parent.name)
def test_a_kustomization_holds_what_lies_beside_it(path: Path) -> None:
    named = {(path.parent / name).resolve() for name in read(path)["resources"]}
    assert all(found.exists() for found in named)
    beside = {p.resolve() for p in path.parent.glob("*.yaml")} - {path.resolve(), SECRETS.resolve()}
    assert beside <= named


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl is installed; no package index has one")
@pytest.mark.parametrize("folder", ["", "base", "external-metric"])
def test_kubectl_builds_it(folder: str) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / folder], capture_output=True, text=True, timeout=60
    )
    assert built.returncode == 0, built.stderr
    images = set(re.findall(r"image: (.*)", built.stdout))
    assert images == {"registry.example/chatward:0.1.0"}
    # All but the namespace itself.
    assert built.stdout.count("\n  namespace: chatward\n") == built.stdout.count("\nkind: ") - 1


def test_everything_is_of_one_version() -> None:
    from chatward import __version__

    found = set()
    for path in [DOCKERFILE, *DEPLOY.rglob("*.yaml"), GUIDE]:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"chatward(?:-ray)?:(\d[\w.]*)|newTag: (\S+)", text))
    assert {one or other for one, other in found} == {__version__}


def test_ray_is_the_version_of_the_constraints() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^ray==(\S+)$", pins, re.M)
    assert pinned, "constraints.txt has no ray: make constraints"
    assert read(DEPLOY / "ray" / "raycluster.yaml")["spec"]["rayVersion"] == pinned[1]
    job = read(DEPLOY / "ray" / "rayjob.yaml")["spec"]
    cluster = read(DEPLOY / "ray" / "raycluster.yaml")
    assert job["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert len({c["image"] for c in [*containers(cluster), *containers(job)]}) == 1


def test_no_package_of_rays_constraints_is_pinned_twice() -> None:
    def names(path: Path) -> list[str]:
        return re.findall(r"^([\w.-]+)==", path.read_text(encoding="utf-8").lower().replace("_", "-"), re.M)

    both = names(ROOT / "constraints.txt") + names(DEPLOY / "ray" / "constraints.txt")
    assert len(both) == len(set(both))


def test_who_runs_it_is_the_same_everywhere() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    assert user and user[1] == user[2] != "0"
    for path in manifests():
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:runAsUser|runAsGroup|fsGroup): (\d+)", text)) <= {user[1]}, path


def test_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = DOCKERFILE.read_text(encoding="utf-8")
    built = [*re.findall(r"EXTRAS=([\w,]+)", text), read(COMPOSE)["x-chatward"]["build"]["args"]["EXTRAS"]]
    for extras in built:
        wanted = extras.split(",")
        assert set(wanted) <= set(project["optional-dependencies"])
        assert not {"train", "lab", "dev"} & set(wanted)


def test_time_to_stop_is_longer_than_the_service_takes() -> None:
    from chatward.faces.api.limits import DRAIN_SECONDS

    for name in ("service", "worker"):
        assert int(read(COMPOSE)["services"][name]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS + 5
    for path in BASE.glob("*-deployment.yaml"):
        assert read(path)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > DRAIN_SECONDS + 10


def test_a_pod_gets_a_secret_that_the_service_takes(tmp_path: Path) -> None:
    """As Kubernetes mounts it, chatward refuses it; the init container's copy it takes."""
    mounted, private = tmp_path / "secret", tmp_path / "private"
    mounted.mkdir(), private.mkdir()
    (mounted / "sender.secret").write_bytes(bytes(range(32)))
    (mounted / "sender.secret").chmod(0o440)
    with pytest.raises(LedgerError, match=r"may be read by others \(mode 0440\)"):
        read_secret(mounted / "sender.secret", create=False)
    first, *_ = containers(read(BASE / "service-deployment.yaml"))
    places = {"/secret": str(mounted), "/private": str(private)}
    command = [re.sub(r"^/(?:secret|private)(?=/)", lambda m: places[m[0]], word) for word in first["command"]]
    assert subprocess.run(command, timeout=30).returncode == 0
    assert read_secret(private / "sender.secret", create=False) == bytes(range(32))


def test_keys_are_taken_as_they_are_mounted(tmp_path: Path) -> None:
    document = read(BASE / "service-deployment.yaml")
    (volume,) = [v for v in document["spec"]["template"]["spec"]["volumes"] if v["name"] == "keys"]
    file = tmp_path / "keys.json"
    add_key(file, "bot")
    file.chmod(volume["secret"]["defaultMode"])
    assert [key.name for key in read_keys(file)] == ["bot"]


def test_the_guides_commands_are_those_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that go through a container; tests/test_readme.py looks at the others."""
    for name, value in read(COMPOSE)["services"]["service"]["environment"].items():
        monkeypatch.setenv(name, value)
    text = GUIDE.read_text(encoding="utf-8")
    lines = re.findall(r"\brun --rm (?:--no-deps )?service ([^`\n]+)", text)
    assert len(lines) >= 3
    for line in lines:
        group, name, *rest = line.split()
        commands = typer.main.get_command(cli).commands[group].commands  # type: ignore[attr-defined]
        assert commands[name].make_context(name, rest).params


def test_the_guide_names_files_that_exist() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/])deploy/[\w./-]*\w", text))
    made = {"deploy/secrets", "deploy/secrets/postgres_password", "deploy/secrets/redis_password"}
    assert {name for name in named if not (ROOT / name).exists()} <= made
    for path in [COMPOSE, KUBERNETES, DEPLOY / "ray" / "raycluster.yaml", DEPLOY / "ray" / "rayjob.yaml"]:
        assert path.relative_to(ROOT).as_posix() in text
    for secret in read(COMPOSE)["secrets"].values():
        assert f"deploy/{secret['file']}" in text
    for document in read(SECRETS)["items"]:
        assert document["metadata"]["name"] in text
