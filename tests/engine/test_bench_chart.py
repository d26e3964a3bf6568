"""The chart of the bench is well-formed, and its bars are as high as what they stand for."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.chart import HEIGHT, TOP, Series, draw, stored_by_day

NAMESPACE = "{http://www.w3.org/2000/svg}"


def bars(svg: str, style: str) -> list[float]:
    """The heights of one series, the swatch of the legend left out."""
    found = [each for each in ElementTree.fromstring(svg).iter(f"{NAMESPACE}rect") if each.get("class") == style]
    return [float(each.get("height", "")) for each in found[:-1]]


def test_heights_are_in_proportion() -> None:
    svg = draw("Title & more", "MB", ["1", "2", "3"], [Series("a", (1, 2, 4)), Series("b <c>", (4, 4, 4))])
    one, two, four = bars(svg, "s0")
    assert round(two / one, 2) == 2
    assert round(four / one, 2) == 4
    assert bars(svg, "s1") == [four] * 3
    assert four < HEIGHT - TOP
    texts = [each.text for each in ElementTree.fromstring(svg).iter(f"{NAMESPACE}text")]
    assert {"Title & more", "a: 4", "b <c>: 4", "1", "2", "3"} <= set(texts)


def test_days_are_summed_for_each_tool_that_was_there() -> None:
    days = [
        {"kind": kind, "dump": 40e6, "tools": {"Holdfast": {"stored": stored}, "restic": {"stored": 10e6}}}
        for kind, stored in (("first", 10e6), ("usual", 1e6), ("usual", 1e6))
    ]
    svg = stored_by_day({"days": days, "order": ["Holdfast", "restic"]})
    ours, theirs = bars(svg, "s0"), bars(svg, "s1")
    assert ours[0] == theirs[0]
    assert round(ours[-1] / ours[0], 2) == 1.2
    assert round(theirs[-1] / theirs[0], 2) == 3
    assert "40 MB" in svg
    assert "BorgBackup" not in svg
