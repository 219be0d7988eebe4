"""Make kubernetes.json and keda.json again, or for another version; README.md tells what they are.

python make.py UNPACKED_KUBERNETES_VALIDATE VERSION    VERSION: of Kubernetes, as 1.33.0; needs cloudcoil-models-keda installed
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = [
    "api.apps.v1.Deployment",
    "api.autoscaling.v2.HorizontalPodAutoscaler",
    "api.core.v1.ConfigMap",
    "api.core.v1.Namespace",
    "api.core.v1.Secret",
    "api.core.v1.Service",
    "api.networking.v1.NetworkPolicy",
    "api.policy.v1.PodDisruptionBudget",
]


def pruned(schema: Any) -> Any:
    """Return *schema* without what only people read."""
    if isinstance(schema, dict):
        # A property may be called "description": there it is a schema, not a text.
        return {
            key: pruned(value)
            for key, value in schema.items()
            if not (key in {"description", "title"} and isinstance(value, str)) and not key.startswith("x-")
        }
    return [pruned(value) for value in schema] if isinstance(schema, list) else schema


def references(schema: Any) -> set[str]:
    return set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema)))


def reachable(definitions: dict[str, Any], names: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            waiting += references(definitions[name])
    return dict(sorted(found.items()))


def write(name: str, comment: str, definitions: dict[str, Any]) -> None:
    """A line a definition, so that a change shows as one."""
    lines = ",\n".join(f'"{key}": {json.dumps(value, sort_keys=True)}' for key, value in definitions.items())
    (HERE / name).write_text(f'{{"$comment": {json.dumps(comment)},\n"$defs": {{\n{lines}\n}}}}\n')


def kubernetes(folder: Path, version: str) -> None:
    schemas = folder / "kubernetes_validate" / "kubernetes-json-schema" / f"v{version}-local-strict"
    text = (schemas / "_definitions.json").read_text()
    text = re.sub(r'"\$ref":\s*"[^"#]*#/(?:\$defs|definitions)/', '"$ref": "#/$defs/', text)
    read = json.loads(text)
    definitions = {
        key.removeprefix("io.k8s."): pruned(value)
        for key, value in (read.get("$defs") or read["definitions"]).items()
    }
    definitions = json.loads(json.dumps(definitions).replace('"#/$defs/io.k8s.', '"#/$defs/'))
    write(
        "kubernetes.json",
        f"Kubernetes {version}, of kubernetes-validate. See README.md.",
        reachable(definitions, KINDS),
    )


def keda() -> None:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject

    schema = ScaledObject.model_json_schema(by_alias=True)
    definitions = {**schema.pop("$defs"), "ScaledObject": schema}
    definitions = {
        key: {**pruned(value), "additionalProperties": value.get("additionalProperties", False)}
        if value.get("type") == "object"
        else pruned(value)
        for key, value in definitions.items()
    }
    write(
        "keda.json",
        "KEDA 2.16.1, of cloudcoil-models-keda. See README.md.",
        reachable(definitions, ["ScaledObject"]),
    )


if __name__ == "__main__":
    kubernetes(Path(sys.argv[1]), sys.argv[2])
    keda()
