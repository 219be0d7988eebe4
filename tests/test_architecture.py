"""Who may import whom, and what must not be loaded."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "chatward"

# room -> the rooms it may import from, itself aside.
ALLOWED = {
    "__init__": {"errors", "schema", "detection"},
    "__main__": {"faces.cli"},
    "errors": set(),
    "schema": {"errors"},
    "text": set(),
    "runtime": set(),
    "fast": {"errors", "schema", "runtime"},
    "artifact": {"errors", "schema", "text"},
    "carbon": {"errors"},
    "data": {"errors", "schema", "text"},
    "evaluation": {"errors", "schema", "text", "carbon"},
    "training": {
        "__init__",
        "errors",
        "schema",
        "text",
        "runtime",
        "fast",
        "artifact",
        "carbon",
        "data",
        "evaluation",
    },
    "hub": {"errors", "artifact"},
    "detection": {"errors", "schema", "text", "runtime", "fast", "artifact", "hub"},
    "moderation": {"errors", "schema", "text"},
    "publishing": {
        "__init__",
        "errors",
        "schema",
        "text",
        "artifact",
        "carbon",
        "training",
        "detection",
        "hub",
    },
    # Where models meet labelled rows.
    "lab": {
        "__init__",
        "errors",
        "schema",
        "text",
        "artifact",
        "carbon",
        "data",
        "training",
        "detection",
        "evaluation",
    },
    "faces": {"__init__", "errors", "schema", "text", "artifact", "carbon", "detection", "moderation"},
    "faces.cli": {
        "__init__",
        "errors",
        "schema",
        "text",
        "artifact",
        "carbon",
        "data",
        "detection",
        "evaluation",
        "training",
        "lab",
        "publishing",
        "moderation",
        "faces",
    },
}

# Each library has one owner.
OWNERS = {
    "ftfy": {"text"},
    "torch": {"training", "lab"},
    "transformers": {"training", "lab", "publishing"},
    "onnx": {"training"},
    "safetensors": {"training", "lab"},
    "scipy": {"training"},
    "sklearn": {"evaluation", "lab"},
    "codecarbon": {"carbon"},
    "cleanlab": {"lab"},
    "rapidfuzz": {"lab"},
    "matplotlib": {"evaluation"},
    "jinja2": {"evaluation", "lab", "faces"},
    "sqlalchemy": {"moderation"},
    "psycopg": {"moderation"},
    "fastapi": {"faces"},
    "starlette": {"faces"},
    "pydantic": {"faces"},
    "uvicorn": {"faces"},
    "prometheus_client": {"faces"},
    "orjson": {"faces"},
    "onnxruntime": {"runtime"},
    "tokenizers": {"detection", "training", "lab", "publishing"},
    "huggingface_hub": {"hub", "publishing"},
    "gradio": {"faces"},
    "gem": {"faces"},
    "aiohttp": {"faces"},
    "discord": {"faces"},
    "ray": {"faces"},
    "redis": {"faces"},
    "duckdb": {"faces"},
    "fsspec": {"faces"},
    "pyarrow": {"faces", "faces.cli"},
    "typer": {"faces.cli"},
    "rich": {"faces.cli"},
}
FORBIDDEN = {"pickle", "dill", "joblib", "shelve", "marshal"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(dotted: str) -> str:
    parts = dotted.removeprefix("chatward").strip(".").split(".")
    if parts[:2] == ["faces", "cli"]:
        return "faces.cli"
    return parts[0] or "__init__"


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            if node.module == "chatward":
                names |= {f"chatward.{a.name}" for a in node.names if (PACKAGE / f"{a.name}.py").exists()}
                if not all((PACKAGE / f"{a.name}.py").exists() for a in node.names):
                    names.add("chatward.__init__")
                names.discard("chatward")
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_every_import_follows_the_table(path: Path) -> None:
    own = room(".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"))
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in FORBIDDEN, f"{path} imports {name}"
        if top == "chatward":
            assert room(name) in ALLOWED[own] | {own}, f"{own} must not import {name}"
        if top in OWNERS:
            assert own in OWNERS[top], f"{own} must not import {name}"


@pytest.mark.parametrize(
    "code",
    [
        "import chatward",
        "import sys; sys.argv = ['chatward', '--help']\ntry:\n    from chatward.faces.cli.main import main; main()\nexcept SystemExit: pass",
    ],
    ids=["import chatward", "chatward --help"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    heavy = "{'torch', 'transformers', 'ftfy', 'gradio', 'fastapi', 'sqlalchemy', 'uvicorn', 'prometheus_client', 'ray', 'redis', 'duckdb', 'pandas', 'pyarrow', 'onnxruntime', 'numpy', 'sklearn', 'codecarbon', 'matplotlib', 'cleanlab'}"
    script = f"{code}\nimport sys\nprint('LOADED', sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("LOADED []")


def test_detection_needs_no_torch(tiny_model: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from chatward import Detector\n"
        f"print(Detector.load({str(tiny_model)!r}).predict(['gg'])[0].tier)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "full\n"


def test_nobody_is_told_that_a_message_was_read(tmp_path: Path, tiny_model: Path) -> None:
    """ONNX Runtime's own telemetry would leave a number for the machine and a queue of events."""
    script = f"from chatward import Detector; Detector.load({str(tiny_model)!r}).predict(['gg'])"
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", script], check=True, env={**environment, "HOME": str(tmp_path)})
    assert not list(tmp_path.rglob("*"))


def test_no_file_is_past_400_lines() -> None:
    long = {p.name: n for p in modules() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long


def test_no_room_is_a_junk_drawer() -> None:
    assert not {p.stem for p in modules()} & {"utils", "common", "helpers", "misc"}
