"""What ``gpu.py`` found, as a page in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

METHOD = """\
Agreement: the same weights on the CPU and on the GPU, and the same draws: torch's are all drawn on the CPU for this and
taken to the device, JAX's are the same on both. `found` is the norm of the difference over the norm of what the CPU
gives (losses: over the largest loss). Of `compile=` both trainings run on the device, with its own draws.

Steps: blocks of value, gradient and Adam in turns, in random order, in one process, each ended by waiting for the
device; medians over rounds, ratios within a round. The first two blocks (compiling, capturing) and a round are not
counted."""


def device_line(facts: Mapping[str, Any]) -> str:
    """The accelerator by its name, or the CPU."""
    gpus = facts.get("torch", {}).get("gpus", [])
    if gpus:
        return ", ".join(gpu["name"] for gpu in gpus)
    there = [name for name in facts.get("jax", {}).get("devices", []) if not name.startswith("cpu")]
    return ", ".join(there) or "a CPU (no GPU)"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def number(value: Any, form: str) -> str:
    """A number, or nothing where there is none."""
    return "" if value is None else format(value, form)


def page(record: Mapping[str, Any]) -> str:
    """The whole page."""
    facts, rows = record.get("facts", {}), record.get("rows", [])
    blocks = [f"# On {device_line(facts)}", f"`{record['command']}`, {record.get('began', '')}", *_about(record, facts)]
    blocks += [METHOD, "## Parts", _parts(record["parts"])]
    sections = {"tests": _tests, "agreement": _agreement, "step": _steps}
    for name, section in sections.items():
        if name in record["parts"]:
            blocks += [f"## {name}", *section(record["parts"][name], [row for row in rows if row["part"] == name])]
            blocks += _errors(record["parts"][name])
    return "\n\n".join(block for block in blocks if block) + "\n"


def _about(record: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    said = [f"{name} {version}" for name, version in facts.get("versions", {}).items()]
    torch = facts.get("torch", {})
    if torch.get("cuda"):
        said.append(f"CUDA {torch['cuda']}, cuDNN {torch.get('cudnn')}")
    products = "as each library has them (TF32 on JAX)" if record.get("tf32") else "in full single precision"
    lines = ["; ".join(said), facts.get("platform", ""), f"Matrix products are {products}."]
    lines += ["A rehearsal with small sizes: the times mean nothing."] if record.get("smoke") else []
    smi = facts.get("nvidia-smi", [])
    driver = ["```\n" + "\n".join(smi) + "\n```"] if smi else []
    return [*lines, *driver, *(f"- {line}" for line in facts.get("left_out", []))]


def _parts(parts: Mapping[str, Any]) -> str:
    rows = []
    for name, part in parts.items():
        reached = f"{part['reached']} of {len(part['cases'])}"
        rows.append([name, part["status"], number(part.get("seconds"), ".0f"), reached, len(part["errors"])])
    return table(["part", "how it ended", "seconds", "cases", "errors"], rows)


def _errors(part: Mapping[str, Any]) -> list[str]:
    found = [f"**{error['case']}**\n\n```\n{error['text'].strip()}\n```" for error in part["errors"]]
    missed = part["cases"][part["reached"] :]
    if missed and part["status"] != "running":
        found.append(f"Not reached: {', '.join(missed)}.")
    return found


def _tests(part: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    counts = ", ".join(f"{count} {outcome.lower()}" for outcome, count in part.get("counts", {}).items())
    bad = [f"- {row['outcome']}: `{row['what']}`" for row in rows if row["outcome"] in ("failed", "error")]
    output = part.get("output", "")
    return [counts or "No test has ended.", "\n".join(bad), f"```\n{output[-6000:].strip()}\n```" if output else ""]


def _agreement(part: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    apart = [row for row in rows if row["agrees"] is False]
    said = f"{len(rows)} comparisons, {len(apart)} of them beyond their tolerance."
    head = ["case", "of", "found", "tolerance", "agrees"]

    def lines(some: Sequence[Row]) -> list[list[str]]:
        return [
            [
                row["case"],
                row["what"],
                number(row.get("found"), ".1e") or "; ".join(row.get("said", [])),
                number(row.get("tolerance"), ".1e"),
                "yes" if row["agrees"] else "**no**",
            ]
            for row in some
        ]

    first = [f"Beyond the tolerance:\n\n{table(head, lines(apart))}"] if apart else []
    return [said, *first, f"All:\n\n{table(head, lines(rows))}" if rows else ""]


def _steps(part: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    head = [
        "task",
        "program",
        "ms a step",
        "least",
        "most",
        "CPU ms",
        "beside by hand",
        "beside PyTorch",
        "first, s",
        "said",
    ]
    lines = []
    for row in rows:
        ms = [number(row.get(name), ".3f") for name in ("ms", "ms_least", "ms_most", "cpu_ms")]
        ratios = [number(row.get(name), ".2f") for name in ("ratio_base", "ratio_torch")]
        note = "failed, see below" if "failed" in row else "; ".join(row.get("said", []))
        lines.append([row["case"], row["what"], *ms, *ratios, number(row.get("first"), ".1f"), note])
    failed = [f"**{r['case']}, {r['what']}**\n\n```\n{r['failed'].strip()}\n```" for r in rows if "failed" in r]
    return [table(head, lines) if lines else "", *failed]
