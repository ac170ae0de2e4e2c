"""The dashboard and the alerts in etc/: they load, and name no metric and no label that is not there."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailserver.counts import ENDS
from mailserver.service.families import FAMILIES, OF_SERVER, WORKER, Family
from tests.interop.unpacked import unpacked

ROOT = Path(__file__).parents[2]
RULES = ROOT / "etc/prometheus/mailserver.rules.yml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "etc/grafana/mailserver.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def series() -> Iterator[tuple[str, Family]]:
    """The names of all samples."""
    for short, family in {**FAMILIES, **OF_SERVER}.items():
        name = family.name(short)
        ends = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        yield from ((name + end, family) for end in ends)


SERIES = dict(series())


def unknown(expression: str) -> list[str]:
    """What an expression names and nobody has: metrics, and labels of a metric."""
    found = [name for name in re.findall(r"\b(?:mailserver|process)_\w+", expression) if name not in SERIES]
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        known = {WORKER, "job", "instance", *(SERIES[name].labels if name in SERIES else ())}
        found += [f"{name}: {label}" for label in re.findall(r"(\w+)[=!]", selector) if label not in known]
    for labels in re.findall(r"(?:by|without) \(([^)]*)\)", expression):
        every = {WORKER, "instance", "le", *(label for family in SERIES.values() for label in family.labels)}
        found += [label for label in re.split(r"[, ]+", labels) if label not in every]
    return found


def expressions() -> Iterator[str]:
    """All of the dashboard, as Grafana would ask them."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def test_the_dashboard_asks_for_what_is_there() -> None:
    assert [text for expression in expressions() for text in unknown(expression)] == []
    asked = " ".join(expressions())
    shown = {
        short for short, family in FAMILIES.items() if re.search(rf"\b{family.name(short)}(_bucket|_count)?\b", asked)
    }
    assert {*FAMILIES} - shown == {"connections", "process_start_time_seconds"}  # of these, others say more


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["title"]
    assert DASHBOARD["uid"]
    assert DASHBOARD.get("id") is None  # else an import would replace somebody's
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) <= {*variables, "__rate_interval", "__all"}
    for panel in PANELS:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
        assert panel["fieldConfig"].keys() == {"defaults", "overrides"}


def test_no_panel_lies_on_another_one() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_each_legend_names_a_label_that_its_expression_keeps() -> None:
    for target in (target for panel in PANELS for target in panel["targets"]):
        kept = {
            label for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in re.split(r"[, ]+", labels)
        }
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, target


def test_the_alerts_ask_for_what_is_there() -> None:
    text = "\n".join(line for line in RULES.read_text().splitlines() if "summary:" not in line and "#" not in line[:3])
    assert unknown(text) == []
    ended = set(re.findall(r'ended="(\w+)"', text))
    assert ended <= set(ENDS.values())
    alerts = RULES.read_text().split("- alert: ")[1:]
    assert all(re.search(r"severity: (critical|warning|info)", each) for each in alerts)
    assert all("summary:" in each and "description:" in each for each in alerts)


def promtool(*arguments: str, folder: Path) -> str:
    """What Prometheus' own tool says, where it is content."""
    said = subprocess.run(
        [unpacked("usr/bin/promtool", "prometheus"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the rules, and with the dashboard's questions as rules."""
    shutil.copy(RULES, tmp_path)
    shutil.copy(Path(__file__).parent / "alerts.test.yml", tmp_path)
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions())]
    (tmp_path / "dashboard.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    return tmp_path


def test_prometheus_loads_the_alerts_and_the_questions_of_the_dashboard(folder: Path) -> None:
    said = promtool("check", "rules", "mailserver.rules.yml", "dashboard.yml", folder=folder)
    numbers = [int(number) for number in re.findall(r"SUCCESS: (\d+) rules found", said)]
    assert numbers == [RULES.read_text().count("- alert: "), len(list(expressions()))]


def samples() -> Iterator[dict[str, str]]:
    """What two worker processes tell that do something all the time, as promtool reads it."""
    for name, family in SERIES.items():
        values = {label: ("granted", "refused") if label == "result" else ("x",) for label in family.labels}
        values[WORKER] = ("1", "2")
        if name.endswith("_bucket"):
            values["le"] = (*map(str, family.bounds), "+Inf")
        for chosen in itertools.product(*values.values()):
            labels = ", ".join(f'{label}="{value}"' for label, value in zip(values, chosen, strict=True))
            growing = "1x90" if family.kind == "gauge" else "0+1x90"
            value = "999999x90" if "expiry" in name else growing
            yield {"series": f'{name}{{instance="a", job="mailserver", {labels}}}', "values": value}


def test_each_question_of_the_dashboard_is_answered_by_a_figure(folder: Path) -> None:
    asked = [
        {"expr": f"absent(({text}) >= 0)", "eval_time": "80m", "exp_samples": []}  # not a number is no figure
        for text in expressions()
    ]
    tests = [{"interval": "1m", "input_series": list(samples()), "promql_expr_test": asked}]
    (folder / "dashboard.test.yml").write_text(json.dumps({"evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", "dashboard.test.yml", folder=folder)


def test_the_first_warning_of_a_kind_is_counted(folder: Path) -> None:
    (text,) = (each for each in expressions() if "increase(" in each)
    series = 'mailserver_log_events_total{instance="a", worker="%s", level="%s", event="x"}'
    given = [
        {"series": series % ("1", "warn"), "values": "0+1x200"},
        {"series": series % ("2", "warn"), "values": "_x100 3x100"},
        {"series": series % ("1", "error"), "values": "7x90 0x10 1x100"},  # began anew
    ]
    asked = [
        {"expr": text, "eval_time": when, "exp_samples": [{"labels": "{}", "value": value}]}
        for when, value in (("99m", 60), ("120m", 64), ("200m", 60))
    ]
    tests = [{"interval": "1m", "input_series": given, "promql_expr_test": asked}]
    tests += [
        {
            "interval": "1m",
            "input_series": [],
            "promql_expr_test": [{**asked[0], "exp_samples": [{"labels": "{}", "value": 0}]}],
        }
    ]
    (folder / "warnings.test.yml").write_text(json.dumps({"evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", "warnings.test.yml", folder=folder)


def test_alerts_fire_when_they_should_and_only_then(folder: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml", folder=folder)
