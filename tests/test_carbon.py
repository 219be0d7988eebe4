"""Emissions with the real CodeCarbon, on machines that are simulated where they have GPUs."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from codecarbon.output_methods.emissions_data import EmissionsData

from chatward import carbon
from tests.carbon_child import T4, child, command

COLUMNS = [field.name for field in dataclasses.fields(EmissionsData)]
PERU_G_PER_KWH = 266.478  # global_energy_mix.json of CodeCarbon 3.3
WORLD_G_PER_KWH = 475
NOT_SUPPORTED = "NVMLError_NotSupported: Not Supported"


def rows(folder: Path) -> list[dict[str, str]]:
    return carbon.recorded(folder / "run" / carbon.EMISSIONS_FILE)


def test_a_machine_without_gpu(tmp_path: Path) -> None:
    said = child(
        """
import codecarbon
logger, root = logging.getLogger("codecarbon"), logging.getLogger()
def state(): return [logger.level, root.level, *map(id, (*logger.handlers, *logger.filters, *root.handlers))]
before = state()
said["first"] = track("work", 1.2, country="PER")
with carbon.track(RUN, "around", pue=2.0) as around:
    said["second"] = track("work", 1.2, pue=2.0)
said["around"] = around.report.as_dict()
said["all"] = track("work", 0.2, earlier=True)
said["log as before"] = before == state()
late = time.monotonic() + 5
while threading.active_count() > 1 and time.monotonic() < late: time.sleep(0.05)
said["threads"] = [t.name for t in threading.enumerate()]
""",
        tmp_path,
    )
    first, second, total = said["first"], said["second"], said["all"]
    kept = rows(tmp_path)
    assert [row["project_name"] for row in kept] == ["work", "work", "around", "work"]
    assert list(kept[0]) == COLUMNS
    frame = pd.read_csv(tmp_path / "run" / "emissions.csv")
    assert list(frame.columns) == COLUMNS and frame["country_iso_code"].tolist()[0] == "PER"
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["emissions.csv"]

    # The file is in kg and kWh, the report in g and Wh; the factor is the country's.
    assert 1000 * float(kept[0]["emissions"]) == pytest.approx(first["emissions_g_co2e"], rel=1e-12)
    assert 1000 * float(kept[0]["energy_consumed"]) == pytest.approx(first["energy_wh"], rel=1e-12)
    assert first["emissions_g_co2e"] == pytest.approx(first["energy_wh"] / 1000 * PERU_G_PER_KWH, rel=1e-9)
    assert second["emissions_g_co2e"] == pytest.approx(second["energy_wh"] / 1000 * WORLD_G_PER_KWH, rel=1e-9)
    assert (first["country"], first["country_name"]) == ("PER", "Peru")
    assert (second["country"], second["country_name"]) == (None, carbon.WORLD)

    # Memory draws the same power all the time, so its energy shows the PUE, and that nothing is counted twice.
    watts = {r["pue"]: 3600 * r["ram"]["energy_wh"] / r["duration_s"] for r in (first, second)}
    assert watts[2.0] == pytest.approx(2 * watts[1.0], rel=0.2)
    assert said["around"]["ram"]["energy_wh"] > second["ram"]["energy_wh"]

    for report in (first, second):
        assert report["energy_wh"] == pytest.approx(report["cpu"]["energy_wh"] + report["ram"]["energy_wh"])
        assert report["gpu"] == {"energy_wh": None, "how": "none", "why": "no GPU found", "missing": ""}
        assert report["ram"]["how"] == "estimated" and report["cpu"]["how"] in ("estimated", "measured")
        assert report["warnings"] == [] and report["problem"] == "" and report["scope"] == "machine"

    assert total["runs"] == 3 and total["warnings"] == []
    assert total["duration_s"] == pytest.approx(
        sum(float(r["duration"]) for r in kept if r["project_name"] == "work"), abs=0.01
    )
    assert total["energy_wh"] > first["energy_wh"] + second["energy_wh"]
    assert said["log as before"] and said["threads"] == ["MainThread"]


GPU_CASES = """
from codecarbon.core import hardware_cache

def gpus(*these): os.environ["FAKE_NVML"] = json.dumps(these)

def case(name, *these, seconds=1.1, later=None, **options):
    hardware_cache.clear_cache()
    gpus(*these)
    with carbon.track(RUN, name, **options) as tracking:
        time.sleep(seconds)
        if later:
            gpus(*later)
            time.sleep(seconds)
    said[name] = {**tracking.report.as_dict(), "warnings": tracking.report.warnings}

off = dict(counter="unsupported", power="unsupported")
case("hosted", off)
said["hosted again"] = track("hosted again", 1.1)
case("no set-up", dict(static="unsupported", **off), seconds=0.5)
said["no set-up again"] = track("no set-up again", 0.5)
case("counter", {"watts": 250}, seconds=2)
case("power only", {"watts": 100, "counter": "unsupported"}, seconds=2)
case("none", dict(counter="none", power="none"))
case("zero", dict(counter="zero", power="zero"))
case("stands still", dict(counter="zero"))
case("one of two", {"watts": 100}, off, seconds=2)
case("lost", {"watts": 100}, later=[dict(counter="lost", power="lost")], seconds=1.5, save_every_s=1.2)
case("short", {"watts": 100, "counter": "zero"}, seconds=0)
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
case("hidden", {"watts": 100})
"""


@pytest.fixture(scope="module")
def on_gpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("gpus")
    said: dict[str, Any] = child(GPU_CASES, folder, gpus=[{}])
    assert [row["project_name"] for row in rows(folder)] == list(said)
    return said


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hosted", f"GPU 0 (Tesla T4): {NOT_SUPPORTED}"),
        ("hosted again", f"GPU 0 (Tesla T4): {NOT_SUPPORTED}"),
        ("no set-up", NOT_SUPPORTED),
        ("no set-up again", NOT_SUPPORTED),
        ("none", "GPU 0 (Tesla T4): it reads nothing"),
        ("zero", "GPU 0 (Tesla T4): it reads nothing"),
        ("stands still", "GPU 0 (Tesla T4): its energy counter stands still"),
        ("short", "GPU 0 (Tesla T4): too short a run to read it"),
    ],
)
def test_a_gpu_that_cannot_be_read_is_unavailable(on_gpus: dict[str, Any], name: str, why: str) -> None:
    report = on_gpus[name]
    assert report["gpu"] == {"energy_wh": None, "how": "unavailable", "why": why, "missing": ""}
    assert report["cpu"]["energy_wh"] > 0 and report["ram"]["energy_wh"] > 0
    assert report["energy_wh"] == pytest.approx(report["cpu"]["energy_wh"] + report["ram"]["energy_wh"])
    assert report["warnings"][0] == f"the GPU's energy is missing from the sum: {why}"


def test_the_counter_is_measured(on_gpus: dict[str, Any]) -> None:
    report = on_gpus["counter"]
    assert (report["gpu"]["how"], report["gpu"]["why"]) == ("measured", "the driver's energy counter")
    assert report["gpu"]["energy_wh"] == pytest.approx(250 * report["duration_s"] / 3600, rel=0.1)
    assert report["warnings"] == [] and report["gpu_model"] == "1 x Tesla T4"
    parts = [report[part]["energy_wh"] for part in ("cpu", "gpu", "ram")]
    assert report["energy_wh"] == pytest.approx(sum(parts))


def test_power_readings_are_measured(on_gpus: dict[str, Any]) -> None:
    report = on_gpus["power only"]
    assert (report["gpu"]["how"], report["gpu"]["why"]) == (
        "measured",
        "the driver's power readings, one a second",
    )
    assert report["gpu"]["energy_wh"] == pytest.approx(100 * report["duration_s"] / 3600, rel=0.1)
    assert report["warnings"] == []


def test_one_of_two_gpus_is_named(on_gpus: dict[str, Any]) -> None:
    report = on_gpus["one of two"]
    missing = f"GPU 1 (Tesla T4): {NOT_SUPPORTED}"
    assert (report["gpu"]["how"], report["gpu"]["missing"]) == ("measured", missing)
    assert report["gpu"]["energy_wh"] == pytest.approx(100 * report["duration_s"] / 3600, rel=0.1)
    assert report["warnings"] == [f"some of the GPU's energy is missing from the sum: {missing}"]


def test_a_gpu_lost_on_the_way_is_named(on_gpus: dict[str, Any]) -> None:
    report = on_gpus["lost"]
    assert report["gpu"]["how"] == "measured"
    assert re.fullmatch(r"GPU 0 \(Tesla T4\): couldn't be read for [123] s", report["gpu"]["missing"])
    assert report["warnings"] == [
        f"some of the GPU's energy is missing from the sum: {report['gpu']['missing']}"
    ]


def test_a_gpu_that_is_hidden_is_none(on_gpus: dict[str, Any]) -> None:
    assert on_gpus["hidden"]["gpu"]["how"] == "none"
    assert "CUDA_VISIBLE_DEVICES" in on_gpus["hidden"]["gpu"]["why"]


def test_a_gpu_without_nvml(tmp_path: Path) -> None:
    said = child('said["report"] = track(seconds=0.3)', tmp_path, nvidia_smi=T4)["report"]
    assert said["gpu"]["how"] == "unavailable" and said["gpu"]["energy_wh"] is None
    assert said["gpu"]["why"].startswith("GPU 0: Tesla T4 is there, but no library that reads its energy works")
    assert said["warnings"][0].startswith("the GPU's energy is missing from the sum: GPU 0: Tesla T4")


def test_a_driver_without_gpu(tmp_path: Path) -> None:
    said = child('said["report"] = track(seconds=0.3)', tmp_path, nvidia_smi="")["report"]
    assert said["gpu"]["how"] == "none"


FAULTS = """
import codecarbon
from codecarbon.emissions_tracker import BaseEmissionsTracker as Base, OfflineEmissionsTracker as Offline
from codecarbon.external.hardware import CPU

def boom(*args, **kwargs): raise RuntimeError("boom")

def case(name, owner=None, attribute=None, fault=boom, seconds=0.0, during=None, run=None, **options):
    original = getattr(owner, attribute) if owner else None
    if owner and not during: setattr(owner, attribute, fault)
    got = error = None
    try:
        with carbon.track(run or RUN, name, **options) as tracking:
            if during: setattr(owner, attribute, fault)
            time.sleep(seconds)
            got = 42
            raise KeyError("the work's own")
    except KeyError as found:
        error = repr(found)
    finally:
        if owner: setattr(owner, attribute, original)
    said[name] = {**tracking.report.as_dict(), "warnings": tracking.report.warnings, "work": [got, error]}

case("construct", Offline, "__init__")
case("construct inside", Base, "_initialize_runtime_state")
case("start", Offline, "start")
case("start inside", Base, "_ensure_hardware_ready")
case("start late", Base, "_measure_power_and_energy")
case("stop", Offline, "stop")
case("stop inside", Base, "_prepare_emissions_data", during=True)
case("reading", CPU, "measure_power_and_energy", seconds=0.5, during=True, save_every_s=0.1)
with carbon.track(RUN, "outer"):
    case("nested", Base, "_initialize_runtime_state")
case("no folder", run=RUN / "nowhere")
(RUN / "taken" / "emissions.csv").mkdir(parents=True)
case("no file", seconds=0.5, run=RUN / "taken")
(RUN / "broken").mkdir()
(RUN / "broken" / "emissions.csv").write_text("project_name,duration\\nbroken file,much\\n")
case("broken file", run=RUN / "broken", earlier=True)
odd = lambda self: setattr(self, "_hardware", [])
case("other version", Base, "_initialize_hardware_tracking", odd)
ended = Offline.stop
case("another end", Offline, "stop", lambda self: (ended(self), delattr(self, "_hardware")))
for t in threading.enumerate():
    if t is not threading.main_thread(): t.join(5)
said["threads"] = [t.name for t in threading.enumerate()]
for name in [n for n in sys.modules if n.partition(".")[0] == "codecarbon"]: sys.modules[name] = None
case("not installed")
from chatward.errors import MissingExtraError
try: carbon.check_country("PER")
except MissingExtraError as error: said["country"] = str(error)
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    said: dict[str, Any] = child(FAULTS, tmp_path_factory.mktemp("faults"))
    return said


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("construct", "RuntimeError: boom"),
        ("construct inside", "RuntimeError: boom"),
        ("start", "RuntimeError: boom"),
        ("start inside", "RuntimeError: boom"),
        ("start late", "RuntimeError: boom"),
        ("stop", "RuntimeError: boom"),
        ("stop inside", "RuntimeError: boom"),
        ("nested", "RuntimeError: boom"),
        ("no folder", "doesn't exist"),
        ("not installed", "codecarbon isn't installed"),
    ],
)
def test_a_tracker_that_fails_leaves_the_work_alone(faults: dict[str, Any], name: str, problem: str) -> None:
    report = faults[name]
    assert report["work"] == [42, 'KeyError("the work\'s own")']
    assert report["energy_wh"] is None and report["emissions_g_co2e"] is None
    assert problem in report["problem"]
    assert report["warnings"] == [f"energy and emissions are unknown: {report['problem']}"]
    assert {report[part]["how"] for part in ("cpu", "gpu", "ram")} == {"unavailable"}


def test_what_goes_wrong_beside_the_figures_is_said(faults: dict[str, Any]) -> None:
    assert all(faults[name]["work"][0] == 42 for name in ("reading", "no file", "broken file", "other version"))
    assert "readings failed, their energy is missing (RuntimeError: boom)" in faults["reading"]["problem"]
    assert faults["reading"]["energy_wh"] is not None
    # Each reading that failed had counted the memory first: no second is counted twice.
    memory = faults["reading"]["ram"]["energy_wh"] / faults["reading"]["duration_s"]
    assert memory == pytest.approx(
        faults["no file"]["ram"]["energy_wh"] / faults["no file"]["duration_s"], rel=0.4
    )
    assert "emissions.csv couldn't be written (IsADirectoryError" in faults["no file"]["problem"]
    assert faults["no file"]["energy_wh"] > 0
    assert "earlier runs in emissions.csv can't be read" in faults["broken file"]["problem"]
    assert faults["broken file"]["runs"] == 1 and faults["broken file"]["energy_wh"] > 0
    assert faults["threads"] == ["MainThread"]
    assert faults["country"] == '--country needs the "lab" extra: pip install "chatward[lab]"'


def test_another_codecarbon_is_never_called_measured(faults: dict[str, Any]) -> None:
    for part in ("cpu", "ram"):
        assert faults["other version"][part]["how"] == "unavailable"
        assert faults["another end"][part]["how"] == "estimated"
        assert "doesn't tell" in faults["another end"][part]["why"]


def test_a_codecarbon_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "broken" / "codecarbon").mkdir(parents=True)
    (tmp_path / "broken" / "codecarbon" / "__init__.py").write_text("raise RuntimeError('bad wheel')\n")
    said = child('said["report"] = track()', tmp_path, PYTHONPATH=str(tmp_path / "broken"))["report"]
    assert said["problem"] == "codecarbon can't be imported (RuntimeError: bad wheel)"


def test_a_killed_run_leaves_its_row(tmp_path: Path) -> None:
    options = command('track("work", 60, save_every_s=0.5)', tmp_path)
    file = tmp_path / "run" / carbon.EMISSIONS_FILE
    process = subprocess.Popen(**options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        late = time.monotonic() + 60
        while time.monotonic() < late and not (
            file.exists() and float(carbon.recorded(file)[0]["duration"]) > 0.9
        ):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (killed,) = rows(tmp_path)
    assert 0.9 < float(killed["duration"]) < 60 and float(killed["energy_consumed"]) > 0
    resumed = child('said["report"] = track("work", 0.3, earlier=True)', tmp_path)["report"]
    kept = rows(tmp_path)
    assert len(kept) == 2 and kept[0] == killed and resumed["runs"] == 2
    assert resumed["energy_wh"] == pytest.approx(
        1000 * sum(float(r["energy_consumed"]) for r in kept), rel=1e-9
    )


def test_the_users_configuration_opens_no_connection(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".codecarbon.config").write_text(
        "[codecarbon]\nemissions_endpoint=http://127.0.0.1:9\nsave_to_api=true\napi_key=abc\n"
        "api_endpoint=http://127.0.0.1:9\noutput_methods=csv,api,prometheus,logger\nprometheus_url=127.0.0.1:9\n"
        "electricitymaps_api_token=abc\nco2_signal_api_token=abc\ncountry_2letter_iso_code=FR\n"
        "cloud_provider=gcp\ncloud_region=europe-west1\noutput_dir=.\noutput_file=mine.csv\nlog_level=debug\n"
        "experiment_name=mine\ntracking_mode=process\nforce_cpu_power=42\n"
    )
    said = child(
        """
import socket
tried = []
def refuse(self, address): tried.append(str(address)); raise OSError("no network")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda *a, **k: refuse(None, a)
said["report"] = track("work", 0.5, country="PER", save_every_s=0.2)
said["tried"] = tried
""",
        tmp_path,
    )
    assert said["tried"] == []
    assert said["report"]["problem"] == "" and said["report"]["scope"] == "machine"
    assert said["report"]["intensity_g_per_kwh"] == pytest.approx(PERU_G_PER_KWH)
    assert "42 W at full load" in said["report"]["cpu"]["why"]
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["emissions.csv"]
    assert sorted(p.name for p in (tmp_path / "home").iterdir()) == [".codecarbon.config"]


def test_a_given_intensity_is_no_country(tmp_path: Path) -> None:
    said = child(
        'said["report"] = track("work", 0.3, country="PER")',
        tmp_path,
        CODECARBON_FORCE_CARBON_INTENSITY_G_CO2E_KWH="50",
    )["report"]
    assert said["intensity_g_per_kwh"] == pytest.approx(50)
    assert said["country_name"] == "a grid intensity given to CodeCarbon"
