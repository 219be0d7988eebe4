"""What the Hub answers, by method and path."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.hub.state import Hub, Refused
from tests.hub.store import Commit, File, Repo, is_large

_REPO = r"(?P<name>[\w.-]+/[\w.-]+)"
_API = rf"/api/(?P<kind>model|space)s/{_REPO}"
_REVISION = r"(?P<revision>[^/]+)"


# Some of those that the Hub takes (https://huggingface.co/docs/hub/repositories-licenses).
_LICENSES = (
    "apache-2.0 mit openrail bsd bsd-2-clause bsd-3-clause cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 afl-3.0 "
    "agpl-3.0 gpl-3.0 lgpl-3.0 mpl-2.0 unlicense unknown other"
).split()


def _at(repo: Repo, revision: str) -> Commit:
    if (commit := repo.commit_at(revision)) is None:
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


async def _whoami(hub: Hub, request: Request) -> Response:
    account = hub.account(request)
    if account is None:
        raise Refused(401, "Invalid username or password.")
    token: dict[str, Any] = {"displayName": "test", "role": account.role}
    if account.role == "fineGrained":
        scoped = [{"entity": {"name": name}, "permissions": ["repo.write"]} for name in account.scopes]
        token["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
    return JSONResponse(
        {
            "type": "user",
            "name": account.name,
            "orgs": [
                *({"type": "org", "name": name, "roleInOrg": "write"} for name in account.orgs),
                *({"type": "org", "name": name, "roleInOrg": "read"} for name in account.reads),
            ],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


async def _create(hub: Hub, request: Request) -> Response:
    told = await request.json()
    kind = told.get("type") or "model"
    account = hub.account(request)
    name = f"{told.get('organization') or (account.name if account else '')}/{told['name']}"
    url = f"{hub.url}/{'' if kind == 'model' else kind + 's/'}{name}"
    hub.may_write(request, name)
    if (kind, name) in hub.store.repos:
        raise Refused(409, f"You already created this {kind} repo: {name}", url=url)
    hub.store.create(kind, name, told.get("visibility") == "private")
    return JSONResponse({"url": url, "name": name})


async def _delete(hub: Hub, request: Request) -> Response:
    told = await request.json()
    name, kind = f"{told['organization']}/{told['name']}", told.get("type") or "model"
    hub.writer(request, kind, name)
    del hub.store.repos[kind, name]
    return JSONResponse({})


async def _validate_yaml(hub: Hub, request: Request) -> Response:
    content = (await request.json())["content"]
    head = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    try:
        told = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError as error:
        return JSONResponse({"errors": [{"message": f"Invalid YAML: {error}"}], "warnings": []}, 400)
    warnings = [] if told else [{"message": "empty or missing yaml metadata in repo card"}]
    if told and "license" in told and not isinstance(told["license"], str):
        return JSONResponse({"errors": [{"message": '"license" must be a string'}], "warnings": []}, 400)
    if told and told.get("license", "other") not in _LICENSES:
        errors = [{"message": f'"license" must be one of [{", ".join(_LICENSES)}]'}]
        return JSONResponse({"errors": errors, "warnings": []}, 400)
    return JSONResponse({"errors": [], "warnings": warnings})


async def _info(hub: Hub, request: Request, kind: str, name: str, revision: str = "") -> Response:
    repo = hub.reader(request, kind, name)
    commit = _at(repo, revision or "main")
    siblings = [{"rfilename": path} for path in sorted(commit.files)]
    return JSONResponse(
        {
            "id": name,
            "sha": commit.oid,
            "private": repo.private,
            "siblings": siblings,
            "tags": [],
            "downloads": 0,
        }
    )


async def _auth_check(hub: Hub, request: Request, kind: str, name: str, write: str) -> Response:
    (hub.writer if write else hub.reader)(request, kind, name)
    return JSONResponse({})


def _changed(hub: Hub, request: Request, kind: str, name: str) -> Repo:
    """Return the repository that is changed, or to which a change is proposed."""
    proposed = request.query_params.get("create_pr") in ("1", "true")
    return (hub.proposer if proposed else hub.writer)(request, kind, name)


async def _preupload(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Response:
    repo = _changed(hub, request, kind, name)
    there = _at(repo, revision).files
    files = []
    for file in (await request.json())["files"]:
        large = is_large(file["path"], file["size"], base64.b64decode(file["sample"]))
        old = there.get(file["path"])
        files.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": old.oid if old else None,
            }
        )
    return JSONResponse({"files": files})


async def _batch(hub: Hub, request: Request, prefix: str, name: str) -> Response:
    hub.proposer(request, "space" if prefix else "model", name)
    objects = []
    for wanted in (await request.json())["objects"]:
        href = f"{hub.url}/lfs/{wanted['oid']}"
        actions = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
        objects.append(wanted if hub.store.has(wanted["oid"]) else {**wanted, "actions": actions})
    return JSONResponse({"transfer": "basic", "objects": objects})


async def _upload(hub: Hub, request: Request, oid: str) -> Response:
    data = await request.body()
    if hashlib.sha256(data).hexdigest() != oid:
        raise Refused(400, "The SHA-256 of what came isn't its name")
    hub.store.put(data, large=True)
    return Response()


async def _verify(hub: Hub, request: Request, oid: str) -> Response:
    if not hub.store.has(oid):
        raise Refused(404, "No such object")
    return JSONResponse({})


async def _commit(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Response:
    repo = _changed(hub, request, kind, name)
    parent = _at(repo, revision)
    files, title = dict(parent.files), ""
    for line in (await request.body()).splitlines():
        entry = json.loads(line)
        value = entry["value"]
        match entry["key"]:
            case "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, parent.oid):
                    raise Refused(412, "A commit has happened since. Please refresh and try again.")
            case "file":
                files[value["path"]] = hub.store.put(base64.b64decode(value["content"]), large=False)
            case "lfsFile":
                if not hub.store.has(value["oid"]):
                    raise Refused(400, f"The large file of {value['path']} was never uploaded")
                files[value["path"]] = File(value["oid"], len(hub.store.read(value["oid"])), large=True)
            case "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
            case "deletedFolder":
                files = {
                    path: file
                    for path, file in files.items()
                    if not path.startswith(value["path"].rstrip("/") + "/")
                }
            case other:
                raise Refused(400, f"Unknown operation {other}")
    home = f"{hub.url}/{'' if kind == 'model' else 'spaces/'}{name}"
    told: dict[str, Any] = {}
    if request.query_params.get("create_pr"):
        number = len(repo.opened) + 1
        repo.opened[number] = title
        revision = f"refs/pr/{number}"
        told["pullRequestUrl"] = f"{home}/discussions/{number}"
    commit = repo.add(revision, parent, title, files)
    return JSONResponse(
        {"commitUrl": f"{home}/commit/{commit.oid}", "commitOid": commit.oid, "success": True, **told}
    )


def _entry(path: str, file: File) -> dict[str, Any]:
    large = {"lfs": {"oid": file.oid, "size": file.size, "pointerSize": 134}} if file.large else {}
    return {"type": "file", "path": path, "size": file.size, "oid": file.oid, **large}


async def _tree(hub: Hub, request: Request, kind: str, name: str, revision: str, path: str) -> Response:
    commit = _at(hub.reader(request, kind, name), revision)
    below = f"{path}/" if path else ""
    entries: dict[str, dict[str, Any]] = {}
    for where, file in sorted(commit.files.items()):
        if where.startswith(below):
            parts = where.removeprefix(below).split("/")
            for depth in range(1, len(parts)):
                folder = below + "/".join(parts[:depth])
                entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            entries[where] = _entry(where, file)
    if request.query_params.get("recursive", "false").lower() != "true":
        entries = {key: value for key, value in entries.items() if "/" not in key.removeprefix(below)}
    return JSONResponse(list(entries.values()))


async def _paths(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Response:
    commit = _at(hub.reader(request, kind, name), revision)
    wanted = (await request.form()).getlist("paths")
    return JSONResponse(
        [_entry(str(path), commit.files[str(path)]) for path in wanted if str(path) in commit.files]
    )


async def _resolve(hub: Hub, request: Request, prefix: str, name: str, revision: str, path: str) -> Response:
    commit = _at(hub.reader(request, "space" if prefix else "model", name), revision)
    if (file := commit.files.get(path)) is None:
        headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit.oid}
        return JSONResponse({"error": "Entry not found"}, 404, headers)
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
    if file.large:  # on another host, as at the Hub: its client reads these headers and goes there
        headers |= {"X-Linked-ETag": f'"{file.oid}"', "X-Linked-Size": str(file.size)}
        elsewhere = hub.url.replace("127.0.0.1", "localhost")
        return Response(status_code=302, headers={**headers, "Location": f"{elsewhere}/lfs/{file.oid}"})
    return _ranged(request, hub.store.read(file.oid), headers)


async def _large(hub: Hub, request: Request, oid: str) -> Response:
    return _ranged(request, hub.store.read(oid), {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


def _ranged(request: Request, data: bytes, headers: dict[str, str]) -> Response:
    if not (wanted := re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))):
        return Response(data, 200, headers)
    start = int(wanted[1])
    headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return Response(data[start:], 206, headers)


ROUTES: list[tuple[str, str, Callable[..., Awaitable[Response]]]] = [
    ("GET", r"/api/whoami-v2", _whoami),
    ("POST", r"/api/repos/create", _create),
    ("DELETE", r"/api/repos/delete", _delete),
    ("POST", r"/api/validate-yaml", _validate_yaml),
    ("GET", _API, _info),
    ("GET", rf"{_API}/revision/{_REVISION}", _info),
    ("GET", rf"{_API}/auth-check(?P<write>/write)?", _auth_check),
    ("POST", rf"{_API}/preupload/{_REVISION}", _preupload),
    ("POST", rf"{_API}/commit/{_REVISION}", _commit),
    ("GET", rf"{_API}/tree/{_REVISION}(?:/(?P<path>.+))?", _tree),
    ("POST", rf"{_API}/paths-info/{_REVISION}", _paths),
    ("POST", rf"/(?P<prefix>spaces/)?{_REPO}\.git/info/lfs/objects/batch", _batch),
    ("PUT", r"/lfs/(?P<oid>\w+)", _upload),
    ("POST", r"/lfs/(?P<oid>\w+)/verify", _verify),
    ("GET HEAD", r"/lfs/(?P<oid>\w+)", _large),
    ("GET HEAD", rf"/(?P<prefix>spaces/)?{_REPO}/resolve/{_REVISION}/(?P<path>.+)", _resolve),
]
