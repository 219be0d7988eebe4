"""What is said of emissions: countries, units, the console's summary, the model card."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from codecarbon.output_methods.emissions_data import EmissionsData

from chatward import carbon
from chatward.carbon.report import untracked
from chatward.errors import UsageError
from chatward.faces.cli.emissions import show_emissions
from chatward.training import card
from tests.conftest import Run

COLUMNS = [field.name for field in dataclasses.fields(EmissionsData)]
PERU_G_PER_KWH = 266.478  # global_energy_mix.json of CodeCarbon 3.3
NOT_SUPPORTED = "NVMLError_NotSupported: Not Supported"


@pytest.mark.parametrize("code", ["PER", "per", " per "])
def test_a_country_code(code: str) -> None:
    assert carbon.check_country(code) == "PER"
    assert carbon.check_country(None) is None


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("Peru", "did you mean PER (Peru)?"),
        ("pe", "did you mean PER (Peru)?"),
        ("UK", "PER and USA are such codes"),
        ("XXX", "PER and USA are such codes"),
        ("", "PER and USA are such codes"),
    ],
)
def test_no_country_code(code: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        carbon.check_country(code)
    said = f"--country is {code!r}, which is no three-letter country code (ISO 3166) with data: {hint}"
    assert str(caught.value) == said


def test_the_country_option(chatward: Run, tmp_path: Path) -> None:
    recipe = Path(__file__).parent / "recipes" / "tiny.toml"
    done = chatward(
        "train", "--recipe", recipe, "--data", "sample", "--out", tmp_path / "m", "--country", "Pery"
    )
    assert done.returncode == 2
    assert "--country is 'Pery'" in done.stderr and "did you mean PER (Peru)?" in done.stderr
    assert not list(tmp_path.iterdir())
    shown = chatward("train", "--help").stdout
    assert "CHATWARD_COUNTRY" in shown and "--pue" in shown


def test_units() -> None:
    assert carbon.grams(0.00289) == pytest.approx(2.89)
    report = carbon.EmissionReport(duration_s=200, energy_wh=10.13, emissions_g_co2e=2.89)
    assert carbon.per_thousand(report, 500) == pytest.approx({"energy_wh": 20.26, "emissions_g_co2e": 5.78})
    assert carbon.per_thousand(report, 0) == {"energy_wh": None, "emissions_g_co2e": None}
    assert report.grams_per_hour == pytest.approx(52.02)
    assert carbon.report_from(json.loads(json.dumps(report.as_dict()))) == report
    shown = {0: "0", 0.0000123456: "0.0000123", 0.5: "0.500", 2.891: "2.89", 41.66: "41.7", 4312.4: "4,312"}
    assert {value: carbon.figure(value) for value in shown} == shown


def report(**changes: Any) -> carbon.EmissionReport:
    return dataclasses.replace(
        carbon.EmissionReport(
            duration_s=200.4,
            energy_wh=4.02,
            emissions_g_co2e=1.07,
            cpu=carbon.Component(
                3.2, "estimated", "from its load and 65 W at full load; its energy counter can't be read"
            ),
            gpu=carbon.Component(None, "unavailable", f"GPU 0 (Tesla T4): {NOT_SUPPORTED}"),
            ram=carbon.Component(0.82, "estimated", "from its size"),
            intensity_g_per_kwh=PERU_G_PER_KWH,
            country="PER",
            country_name="Peru",
            pue=1.2,
            cpu_model="Intel(R) Xeon(R) CPU @ 2.20GHz",
            cores=2,
            gpu_model="1 x Tesla T4",
            ram_gb=12.7,
            codecarbon="3.3.2",
        ),
        **changes,
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_summary(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show_emissions(report().as_dict())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= width
    text = " ".join(" ".join(lines).split())
    for part in (
        "duration 3.3 min",
        "CPU 3.20 Wh estimated from its load and 65 W at full load",
        "GPU - unavailable GPU 0 (Tesla T4)",
        "memory 0.820 Wh estimated from its size",
        "total 4.02 Wh without the GPU",
        "emissions 1.07 g CO2e",
        "rate 19.2 g CO2e an hour",
        "region Peru, 266 g CO2e a kWh",
        "hardware 2 x Intel(R) Xeon(R) CPU @ 2.20GHz, 1 x Tesla T4, 13 GB of memory",
        "PUE 1.2",
        f"Note: the GPU's energy is missing from the sum: GPU 0 (Tesla T4): {NOT_SUPPORTED}",
    ):
        assert part in text


def test_the_summary_without_figures(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = carbon.EmissionReport(problem="codecarbon isn't installed")
    show_emissions(unknown.as_dict())
    assert capsys.readouterr().out == "Note: energy and emissions are unknown: codecarbon isn't installed\n"


def cost(emissions: carbon.EmissionReport) -> str:
    per = carbon.per_thousand(emissions, 100_000)
    return card._cost(
        {
            "emissions": emissions.as_dict(),
            "inference": {"per_1000_messages": per, "emissions": emissions.as_dict()},
        }
    )


def test_the_model_card() -> None:
    text = cost(report())
    assert "| training, 3.3 min | 4.02 Wh | 1.07 g CO2e |" in text
    assert "| answering 1,000 messages, one thread | 0.0402 Wh | 0.0107 g CO2e |" in text
    assert "electricity of Peru (266 g CO2e a kWh), PUE 1.2" in text
    assert f"- GPU: unavailable (GPU 0 (Tesla T4): {NOT_SUPPORTED})" in text
    assert f"**Note:** the GPU's energy is missing from the sum: GPU 0 (Tesla T4): {NOT_SUPPORTED}." in text
    assert "**Note:**" not in cost(report(gpu=carbon.Component(None, "none", "no GPU found")))
    unknown = cost(carbon.EmissionReport(problem="codecarbon isn't installed"))
    assert unknown == "## Energy and emissions\n\nNot known: codecarbon isn't installed.\n"
    before = untracked("it was trained before energy was tracked", None, 1.0).as_dict()
    answering = {"per_1000_messages": carbon.per_thousand(report(), 100_000), "emissions": report().as_dict()}
    text = card._cost({"emissions": before, "inference": answering})
    assert "| training | not known: it was trained before energy was tracked | |" in text
    assert "| answering 1,000 messages, one thread | 0.0402 Wh | 0.0107 g CO2e |" in text


def test_a_trained_model_tells_what_it_cost(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    with (trained / carbon.EMISSIONS_FILE).open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == COLUMNS and row["project_name"] == f"chatward train {trained.name}"
    spent = record["emissions"]
    assert spent["emissions_g_co2e"] == pytest.approx(1000 * float(row["emissions"]))
    assert 0 < spent["duration_s"] < record["seconds"] + 1
    answering = record["inference"]["per_1000_messages"]
    assert 0 < answering["energy_wh"] < spent["energy_wh"]
    text = (trained / "README.md").read_text(encoding="utf-8")
    assert "## Energy and emissions" in text and "answering 1,000 messages" in text
