"""Each file of `deploy` passes its own linter or schema and the rules of the house; and each of these can fail."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.documents import (
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    HOUSE_COMPOSE,
    HOUSE_OBJECT,
    KUBERNETES,
    OBJECT,
    SECRETS,
    SPECIFICATION,
    hadolint,
    lint,
    manifests,
    read,
)

Change = Callable[[Any], object]


def test_the_dockerfile_passes_hadolint() -> None:
    assert hadolint(DOCKERFILE.read_text(encoding="utf-8")) == ""


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r"^USER .*$", "USER root", "DL3002"),
        (r"^HEALTHCHECK .*$", "", "DL3057"),
        (r"python:3\.11-slim-bookworm$", "python", "DL3006"),
        (r"^ENTRYPOINT .*$", "ENTRYPOINT chatward", "DL3025"),
        (r"^WORKDIR /data$", "WORKDIR data", "DL3000"),
        (r"^COPY --from=build", "COPI --from=build", "unexpected"),
    ],
)
def test_hadolint_finds(pattern: str, replacement: str, words: str) -> None:
    text, changed = re.subn(pattern, replacement, DOCKERFILE.read_text(encoding="utf-8"), flags=re.M)
    assert changed
    assert words in hadolint(text)


@pytest.mark.parametrize("schema", [SPECIFICATION, HOUSE_COMPOSE], ids=["specification", "house"])
def test_compose_passes(schema: tuple[str, str], tmp_path: Path) -> None:
    assert lint(schema, read(COMPOSE), tmp_path) == ""


def _service(name: str, **changes: Any) -> Change:
    return lambda document: document["services"][name].update(changes)


def _without(name: str, key: str) -> Change:
    return lambda document: document["services"][name].pop(key)


@pytest.mark.parametrize(
    ("schema", "change", "words"),
    [
        (SPECIFICATION, _service("worker", heathcheck={}), "heathcheck"),
        (SPECIFICATION, _service("worker", depends_on={"redis": {"condition": "healthy"}}), "healthy"),
        (SPECIFICATION, _service("redis", ports={"6379": "6379"}), "ports"),
        (HOUSE_COMPOSE, _without("redis", "healthcheck"), "healthcheck"),
        (HOUSE_COMPOSE, _service("redis", user="0:0"), "0:0"),
        (HOUSE_COMPOSE, _without("postgres", "user"), "user"),
        (HOUSE_COMPOSE, _service("service", read_only=False), "read_only"),
        (HOUSE_COMPOSE, _service("service", ports=["8080:8080"]), "8080:8080"),
        (HOUSE_COMPOSE, _service("postgres", environment={"POSTGRES_PASSWORD": "x"}), "POSTGRES_PASSWORD"),
        (
            HOUSE_COMPOSE,
            _service("service", environment={"CHATWARD_LEDGER": "postgresql://a:b@postgres/c"}),
            "CHATWARD_LEDGER",
        ),
        (HOUSE_COMPOSE, _service("worker", image="chatward:latest"), "chatward:latest"),
        (HOUSE_COMPOSE, _service("worker", deploy={"replicas": 2}), "resources"),
        (HOUSE_COMPOSE, _service("worker", privileged=True), "worker: False schema does not allow True"),
    ],
)
def test_a_spoilt_compose_file_is_refused(
    schema: tuple[str, str], change: Change, words: str, tmp_path: Path
) -> None:
    document = copy.deepcopy(read(COMPOSE))
    change(document)
    assert words in lint(schema, document, tmp_path)


def _name(path: Path) -> str:
    return path.relative_to(DEPLOY).as_posix()


@pytest.mark.parametrize("path", manifests(), ids=_name)
def test_a_manifest_passes(path: Path, tmp_path: Path) -> None:
    document = read(path)
    assert lint(OBJECT, document, tmp_path) == ""
    assert lint(HOUSE_OBJECT, document, tmp_path) == ""


def test_the_examples_of_secrets_pass(tmp_path: Path) -> None:
    for document in read(SECRETS)["items"]:
        assert lint(OBJECT, document, tmp_path) == ""


def _pod(document: Any) -> Any:
    return document["spec"]["template"]["spec"]


def _container(document: Any) -> Any:
    return _pod(document)["containers"][0]


def _trigger(document: Any) -> Any:
    return document["spec"]["triggers"][0]


BASE = KUBERNETES / "base"
SERVICE = BASE / "service-deployment.yaml"
SCALED = KUBERNETES / "worker-scaledobject.yaml"
CLUSTER = DEPLOY / "ray" / "raycluster.yaml"
JOB = DEPLOY / "ray" / "rayjob.yaml"


@pytest.mark.parametrize(
    ("schema", "path", "change", "words"),
    [
        (OBJECT, SERVICE, lambda d: _container(d).update(readinesProbe={}), "readinesProbe"),
        (OBJECT, SERVICE, lambda d: _container(d)["ports"][0].update(containerPort="http"), "containerPort"),
        (OBJECT, SERVICE, lambda d: d.update(apiVersion="apps/v1beta1"), "apps/v1beta1"),
        (OBJECT, SERVICE, lambda d: d["spec"].pop("selector"), "selector"),
        (OBJECT, BASE / "service-hpa.yaml", lambda d: d["spec"].pop("maxReplicas"), "maxReplicas"),
        (OBJECT, BASE / "service-pdb.yaml", lambda d: d["spec"].update(minAvailible=1), "minAvailible"),
        (OBJECT, BASE / "network-policy.yaml", lambda d: d["spec"].update(egres=[]), "egres"),
        (OBJECT, BASE / "service.yaml", lambda d: d.update(kind="Servise"), "Servise"),
        (OBJECT, SCALED, lambda d: d["spec"].update(minReplicas=1), "minReplicas"),
        (OBJECT, SCALED, lambda d: _trigger(d)["metadata"].update(lagCount=20000), "lagCount"),
        (OBJECT, CLUSTER, lambda d: d["spec"].update(rayVersoin="2"), "rayVersoin"),
        (OBJECT, CLUSTER, lambda d: d["spec"]["workerGroupSpecs"][0].pop("groupName"), "groupName"),
        (OBJECT, CLUSTER, lambda d: _container({"spec": d["spec"]["headGroupSpec"]}).update(imag="x"), "imag"),
        (OBJECT, JOB, lambda d: d["spec"].pop("entrypoint"), "entrypoint"),
        (HOUSE_OBJECT, SERVICE, lambda d: _pod(d)["securityContext"].update(runAsUser=0), "runAsUser"),
        (HOUSE_OBJECT, SERVICE, lambda d: _pod(d)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
        (HOUSE_OBJECT, SERVICE, lambda d: _container(d).pop("livenessProbe"), "livenessProbe"),
        (HOUSE_OBJECT, SERVICE, lambda d: _container(d)["resources"].pop("limits"), "limits"),
        (HOUSE_OBJECT, SERVICE, lambda d: _pod(d)["initContainers"][0]["securityContext"].update(readOnlyRootFilesystem=False), "readOnlyRootFilesystem"),
        (HOUSE_OBJECT, SERVICE, lambda d: _container(d)["env"].append({"name": "PGPASSWORD", "value": "x"}), "valueFrom"),
        (HOUSE_OBJECT, SCALED, lambda d: _trigger(d)["metadata"].update(lagCuont="5"), "lagCuont"),
        (HOUSE_OBJECT, SCALED, lambda d: d["spec"].update(minReplicaCount=0), "minReplicaCount"),
        (HOUSE_OBJECT, CLUSTER, lambda d: d["spec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": "2"}), "num-cpus"),
        (HOUSE_OBJECT, CLUSTER, lambda d: d["spec"]["workerGroupSpecs"][0]["template"]["spec"].pop("securityContext"), "securityContext"),
    ],
)  # fmt: skip
def test_a_spoilt_manifest_is_refused(
    schema: tuple[str, str], path: Path, change: Change, words: str, tmp_path: Path
) -> None:
    document = copy.deepcopy(read(path))
    change(document)
    assert words in lint(schema, document, tmp_path)
