"""What a login costs by each kind of users."""

from bench.checkers import cases, measure, table


def test_a_short_run_measures_each_kind_beside_a_file(capsys):
    with cases(["file", "sqlite"]) as found:
        figures = measure(found, logins=20, rounds=1)
    assert list(figures) == ["passwd-file", "sql: sqlite"]
    assert all(each["server"] >= 0 for each in figures.values())  # a tick of the clock may be more than these logins
    assert capsys.readouterr().out == ""


def test_the_table_has_ratios_to_the_file():
    figures = {"passwd-file": {"server": 0.0005, "others": 0.0}, "pam": {"server": 0.001, "others": 0.0035}}
    assert table(figures).splitlines()[2:] == [
        "| passwd-file | 500 us | 1.0 |  |",
        "| pam | 1,000 us | 2.0 | 3,500 us |",
    ]
