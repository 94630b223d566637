"""What ``step.py`` measured, as lines, tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ppl_vae import plots
from ppl_vae.runtime import storage

Row = dict[str, Any]
HEAD = "| task | program | ms | CPU ms | ratio | CPU ratio | share | first, s | aim |"


def verdict(row: Row) -> str:
    """The aim of a row and whether it is reached, by the clock's time and by CPU time."""
    if "aim" not in row:
        return ""
    aim, said = row["aim"], []
    for name, unit in (("ratio", ""), ("cpu_ratio", " CPU")):
        if name in aim:
            over = aim[name] - aim["at_most"]
            said.append(f"{aim[name]:.2f}{unit} ({f'{over:.2f} over' if over > 0 else 'reached'})")
    return f"{', '.join(said)} of {aim['at_most']:.2f} beside {aim['beside']}"


def cells(row: Row) -> list[str]:
    """Of a table's line."""
    form = {"ms": ".2f", "cpu_ms": ".2f", "ratio": ".2f", "cpu_ratio": ".2f", "share": ".0%", "first": ".1f"}
    numbers = [format(row[name], spec) if name in row else "" for name, spec in form.items()]
    if "mib" in row:
        numbers[0] = " / ".join(f"{value:.0f} MiB" for value in reversed(row["mib"]))
    return [row["task"], row["what"], *numbers, verdict(row)]


def line(row: Row) -> str:
    """A row as text."""
    task, what, ms, cpu_ms, ratio, cpu_ratio, share, first, aim = cells(row)
    cpu = f"(CPU {cpu_ratio:>4})" if cpu_ratio else ""
    return f"{task:>24} {what:>30} {ms:>9} {cpu_ms:>9} {ratio:>6} {cpu:11} {share:>5} {first:>6}  {aim}".rstrip()


def table(rows: list[Row]) -> str:
    """All rows in Markdown."""
    rule = "| --- " * HEAD.count(" | ") + "| --- |"
    return "\n".join([HEAD, rule, *(f"| {' | '.join(cells(row))} |" for row in rows)]) + "\n"


def bars(rows: list[Row], title: str) -> Figure:
    """The ratio of each program to the base, a panel for each task; a dash marks an aim."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    size = sum(row["task"] == tasks[0] for row in rows)
    figure = Figure(figsize=(plots.WIDTH, (0.9 + 0.24 * size) * len(tasks)), layout="constrained")
    figure.suptitle(title)
    for axes, task in zip(figure.subplots(len(tasks), 1, squeeze=False)[:, 0], tasks, strict=True):
        some = [row for row in rows if row["task"] == task]
        for name, offset, colour in (("ratio", -0.2, plots.COLOURS[0]), ("cpu_ratio", 0.2, plots.COLOURS[5])):
            places = [i + offset for i in range(len(some))]
            label = "clock" if name == "ratio" else "CPU, all threads"
            axes.barh(places, [row.get(name, 0.0) for row in some], 0.4, color=colour, label=label)
        for place, row in enumerate(some):
            if "aim" in row:  # beside something else than the base: where that stands times the aim
                at = row["ratio"] / row["aim"]["ratio"] * row["aim"]["at_most"]
                axes.plot([at, at], [place - 0.45, place + 0.45], color="black", linewidth=1.5)
        axes.set_yticks(range(len(some)), [row["what"] for row in some])
        axes.invert_yaxis()
        axes.axvline(1.0, color="grey", linewidth=0.8)
        axes.set_title(task, loc="left", fontsize="medium")
    figure.axes[-1].set_xlabel("time over that of the base (hand-written eager PyTorch, fused Adam); mark: the aim")
    figure.axes[0].legend(loc="lower right", fontsize="small")
    return figure


def write(record: dict[str, Any], folder: Path) -> list[Path]:
    """The table and the figures of a record; the paths."""
    said = f"{record['machine']}, {record['seconds']:.0f} s in all.\n\n"
    storage.write_atomically(folder / "step.md", (said + table(record["rows"])).encode())
    steps = [row for row in record["rows"] if row["section"] == "steps"]
    paths = [folder / "step.md"]
    if steps:
        paths.append(plots.save(bars(steps, f"A gradient step, batch {record['scale']['batch']}"), folder / "step.png"))
    return paths
