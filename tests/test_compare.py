"""`chatward compare` by the real program: folders, classifiers, word counts, published rows, line-ups of recipes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatward.carbon import recorded
from chatward.lab.wordcount import WordCounts
from tests.conftest import OFFLINE, PROGRAM, ROOT, Run

SAMPLE = ROOT / "src" / "chatward" / "data" / "sample"
DOTA3 = SAMPLE / "dota3" / "train.csv"
GOSU = SAMPLE / "gosu" / "train.csv"
PUBLISHED = ROOT / "recipes" / "published.toml"
LINEUP = Path(__file__).parent / "recipes" / "lineup"


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word counts of the sample set's dota3 rows."""
    with DOTA3.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    folder = tmp_path_factory.mktemp("counts") / "tfidf"
    WordCounts.fit([r["message"] for r in rows], [int(r["target"]) for r in rows]).save(folder)
    return folder


@pytest.fixture(scope="module")
def relabelled(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the trained classifier as a plain transformers folder with other labels."""

    def make(name: str, **labels: str) -> Path:
        folder = tmp_path_factory.mktemp("relabelled") / name
        shutil.copytree(trained / "pytorch", folder)
        config = json.loads((folder / "config.json").read_text())
        config["id2label"] = {str(i): label for i, label in enumerate(labels.values())}
        config["label2id"] = {label: i for i, label in enumerate(labels.values())}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.fixture(scope="module")
def comparison(
    chatward: Run, trained: Path, counts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, dict[str, Any], Path]:
    """All kinds of models at once: what was said, comparison.json, the folder."""
    work = tmp_path_factory.mktemp("compare")
    out = work / "report"
    plain = shutil.copytree(trained / "pytorch", work / "plain")
    done = chatward(
        *("compare", counts, trained, plain, PUBLISHED, "--data", GOSU, "--group-column", "match"),
        *("--report", out, "--draws", "300"),
        cwd=work,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in work.iterdir()) == ["plain", "report"]
    return done, json.loads((out / "comparison.json").read_text(encoding="utf-8")), out


def test_all_kinds_of_models_are_measured_on_the_same_rows(comparison: Any) -> None:
    _, found, _ = comparison
    kinds = {model["name"]: model["kind"] for model in found["models"]}
    assert list(kinds.values()) == ["word counts", "chatward", "transformers"]
    assert {model["figures"]["rows"] for model in found["models"]} == {found["data"]["rows"]}
    for model in found["models"]:
        assert model["size_mb"] > 0 and model["ms_per_message"] > 0 and model["messages_per_s"] > 0
    costs = {model["kind"]: model["train_g_co2e"] for model in found["models"]}
    assert costs["chatward"] > 0
    assert costs["word counts"] is None and costs["transformers"] is None


def test_the_same_weights_answer_alike_in_int8_and_in_transformers(comparison: Any) -> None:
    """A chatward folder and its own fp32 weights: macro F1 as good as equal, so no difference can be told."""
    _, found, _ = comparison
    (told,) = (
        d
        for d in found["differences"]
        if (d["model"], d["against"], d["metric"]) == ("plain", "model", "macro_f1")
    )
    assert told["verdict"] == "can't tell at 95 %"
    assert abs(told["difference"]) < 0.05


def test_every_pair_is_tested_both_ways(comparison: Any) -> None:
    _, found, _ = comparison
    told = {(d["model"], d["against"], d["metric"]): d for d in found["differences"]}
    assert len(told) == len(found["differences"]) == 3 * 2 * 5
    for (model, against, metric), one in told.items():
        other = told[against, model, metric]
        assert one["difference"] == pytest.approx(-other["difference"])
        assert one["interval"] == pytest.approx([-x for x in reversed(other["interval"])])
        opposite = {"better": "worse", "worse": "better"}
        assert opposite.get(one["verdict"], one["verdict"]) == other["verdict"]


def test_published_rows_are_shown_and_never_tested(comparison: Any) -> None:
    done, found, out = comparison
    assert [row["figures"]["accuracy"] for row in found["published"]] == [0.8213, 0.7978]
    assert not any("base" in d["model"] + d["against"] for d in found["differences"])
    assert "Published figures are of other rows and stand in no test" in " ".join(done.stdout.split())
    assert "82.1" in done.stdout and "1.507" in done.stdout and "2.89" in done.stdout
    assert "published" in (out / "comparison.md").read_text(encoding="utf-8").casefold()


def test_each_models_energy_is_a_row(comparison: Any) -> None:
    _, found, out = comparison
    rows = recorded(out / "emissions.csv")
    assert [r["project_name"] for r in rows] == [f"chatward evaluate {m['name']}" for m in found["models"]]


def test_labels_of_their_own_need_a_map(
    chatward: Run, counts: Path, relabelled: Callable[..., Path], tmp_path: Path
) -> None:
    theirs = relabelled("theirs", a="OK", b="rude", c="abusive")
    given = ("compare", counts, theirs, "--data", GOSU, "--draws", "100", "--report", tmp_path / "report")
    done = chatward(*given)
    assert done.returncode == 35
    assert "has the labels 'OK', 'rude', 'abusive', not 'non-toxic'" in done.stderr
    assert '--label-map "OK=LEVEL,rude=LEVEL,abusive=LEVEL"' in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = chatward(*given, "--label-map", "OK=non-toxic,rude=toxic,abusive=toxic")
    assert done.returncode == 0, done.stderr
    assert "theirs can't say 'mild toxicity'" in done.stdout
    done = chatward(*given[:-2], "--label-map", "OK=fine")
    assert done.returncode == 2
    assert "--label-map has 'OK=fine': give each THEIR LABEL=LEVEL once" in done.stderr


def test_labels_in_another_order_or_spelling_are_understood(
    chatward: Run, trained: Path, relabelled: Callable[..., Path]
) -> None:
    turned = relabelled("turned", a="Non-Toxic", b="MILD_TOXICITY", c="Toxic")
    done = chatward("compare", trained / "pytorch", turned, "--data", GOSU, "--draws", "100")
    assert done.returncode == 0, done.stderr
    assert "+0.0 (0.0 to 0.0)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-user/no-such-model"], 21, "the Hub has no such model or can't be reached from here"),
        (["./nowhere"], 21, "there is no such folder"),
        (["empty"], 31, "'empty' holds no model"),
        (["encoder"], 21, "it isn't fine-tuned as a classifier"),
        (["COUNTS", "COUNTS"], 2, "two models are called 'tfidf'"),
        (["COUNTS", "--baseline", "bert"], 2, "--baseline is 'bert'; the models measured are: tfidf"),
        (["PUBLISHED"], 36, "not one model could be measured"),
        ([], 2, "nothing to compare"),
        (
            ["--recipes", "LINEUP", "--data", "sample"],
            36,
            "it isn't trained in 'lineup.models' yet: give --train",
        ),
        (["COUNTS", "--train"], 2, "are for the models of --recipes"),
        (["COUNTS", "--label-map", "a=toxic"], 2, "which are not the labels of any classifier here"),
        (["COUNTS", "--label-map", "a=toxic,a=non-toxic"], 2, "give each THEIR LABEL=LEVEL once"),
        (["broken"], 32, "isn't a run record that this chatward reads"),
    ],
)
def test_bad_input_is_named_and_nothing_is_left(
    arguments: list[str],
    code: int,
    words: str,
    chatward: Run,
    counts: Path,
    backbone: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "encoder").symlink_to(backbone("bert"))
    shutil.copytree(counts, tmp_path / "broken")
    (tmp_path / "broken" / "run.json").write_text("{")
    named = {"COUNTS": counts, "PUBLISHED": PUBLISHED, "LINEUP": LINEUP}
    done = chatward(
        *("compare", "--data", GOSU, *(named.get(a, a) for a in arguments), "--report", "report"), cwd=tmp_path
    )
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "empty", "encoder"]


def test_a_lineup_is_trained_resumed_and_one_failure_costs_only_itself(
    chatward: Run, backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    """Killed in the middle, started again: what was finished stays, the backbone that isn't there is named."""
    given = [
        "compare",
        "--recipes",
        LINEUP,
        "--data",
        "sample",
        "--hold-out",
        "1/4",
        "--work",
        tmp_path / "work",
    ]
    given += ["--train", "--draws", "100", "--baseline", "counts"]
    for kind in ("albert", "distilbert"):
        given += ["--backbone", f"some/{kind}={backbone(kind)}"]
    run = subprocess.Popen(
        [PROGRAM, *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **OFFLINE}
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (tmp_path / "work" / "state" / "distilbert").exists():
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    finished = sorted(path.name for path in (tmp_path / "work" / "models").iterdir())
    assert finished == ["albert", "counts"]
    stamp = (tmp_path / "work" / "models" / "albert" / "manifest.json").stat().st_mtime_ns
    done = chatward(*given, "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "albert: trained before" in done.stderr and "counts: trained before" in done.stderr
    assert "distilbert: training from some/distilbert" in done.stderr
    assert (tmp_path / "work" / "models" / "albert" / "manifest.json").stat().st_mtime_ns == stamp
    assert "Not measured: roberta: backbone 'some/roberta' can't be loaded" in done.stdout
    found = json.loads((tmp_path / "report" / "comparison.json").read_text(encoding="utf-8"))
    assert [model["name"] for model in found["models"]] == ["albert", "counts", "distilbert"]
    assert [item["name"] for item in found["failed"]] == ["roberta"]
    assert all(model["train_g_co2e"] > 0 for model in found["models"])
    assert found["baseline"] == "counts"
    held = json.loads((tmp_path / "work" / "models" / "counts" / "run.json").read_text())["held_out"]["rows"]
    assert {model["figures"]["rows"] for model in found["models"]} == {held}
    assert not any("trained on" in said for said in found["warnings"])
    assert str(tmp_path) not in json.dumps(found), "no path of this machine"
    again = given[: given.index("--train")]
    done = chatward(*again, "--hold-out", "2/4")
    assert done.returncode == 2
    assert "was made from another fold than now" in done.stderr
    done = chatward(*again, "--train", "--backbone", f"some/albert={backbone('bert')}")
    assert done.returncode == 2
    assert "was made from another backbone than now" in done.stderr
    (tmp_path / "work" / "models" / "counts" / "run.json").write_text("[]")
    done = chatward(*again)
    assert done.returncode == 32
    assert "isn't a run record that this chatward reads" in done.stderr


def test_a_lineup_of_different_rows_is_refused(chatward: Run, tmp_path: Path) -> None:
    shutil.copytree(LINEUP, tmp_path / "lineup")
    other = tmp_path / "lineup" / "counts.toml"
    other.write_text(other.read_text().replace("seed = 3", "seed = 4"))
    given = (
        "--recipes",
        tmp_path / "lineup",
        "--data",
        "sample",
        "--hold-out",
        "1/4",
        "--work",
        tmp_path / "w",
    )
    done = chatward("compare", *given)
    assert done.returncode == 2
    assert "has other sets or another seed than" in done.stderr
    other.write_text(other.read_text().replace('"word counts"', '"horoscope"'))
    done = chatward("compare", *given)
    assert done.returncode == 20
    assert "kind is 'horoscope'; it must be 'word counts'" in done.stderr


def test_a_published_file_with_a_slip_is_named(chatward: Run, counts: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "published.toml"
    wrong.write_text(PUBLISHED.read_text().replace("accuracy = 0.8213", "accuracy = 82.13"))
    done = chatward("compare", counts, wrong, "--data", GOSU)
    assert done.returncode == 20
    assert "has a share outside 0 to 1: write 82.1 % as 0.821" in done.stderr
    wrong.write_text(PUBLISHED.read_text().replace("recall = 0.72\nf1 = 0.71", "recall = 0.71\nf1 = 0.72"))
    done = chatward("compare", counts, wrong, "--data", GOSU)
    assert done.returncode == 20
    assert "check that none of them were swapped" in done.stderr
    wrong.write_text(PUBLISHED.read_text().replace('label = "toxic"', 'label = "mild toxicity"', 1))
    done = chatward("compare", counts, wrong, "--data", GOSU)
    assert done.returncode == 20
    assert "give each of non-toxic, mild toxicity, toxic once, or none" in done.stderr
