"""What a piece of work cost: energy in Wh and emissions in g CO2e, measured or estimated by CodeCarbon.

`track` writes CodeCarbon's own ``emissions.csv`` (kWh and **kg**) into the folder it is given and nowhere else, asks no
network, and never fails the work it is put around. Each component says how its energy was got:

* ``measured``: read from a counter or sensor of the hardware;
* ``estimated``: computed from the component's load and rated power;
* ``unavailable``: the component is there, and nothing could be read. It is left out of the sum, never counted as 0;
* ``none``: there is no such component.
"""

from chatward.carbon.report import (
    WORLD,
    Component,
    EmissionReport,
    check_country,
    figure,
    grams,
    per_thousand,
    recorded,
    report_from,
)
from chatward.carbon.tracker import EMISSIONS_FILE, Tracking, track

__all__ = [
    "EMISSIONS_FILE",
    "WORLD",
    "Component",
    "EmissionReport",
    "Tracking",
    "check_country",
    "figure",
    "grams",
    "per_thousand",
    "recorded",
    "report_from",
    "track",
]
