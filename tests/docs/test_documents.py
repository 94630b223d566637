"""What the documents show runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_readmes_ten_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks("README.md", "python")[0]
    assert len(code.splitlines()) == 10
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "digits.safetensors").exists() and names["images"].shape == (16, 64)  # type: ignore[attr-defined]
    assert "DReG" in capsys.readouterr().out


def test_your_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tables: None
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks("docs/your_own.md", "python")), "docs/your_own.md", "exec"), {})
    out = capsys.readouterr().out
    assert "Trace_ELBO" in out and "train=140, valid=20, test=40" in out
    assert "should be above 0; got -1.0" in out


@pytest.mark.slow
def test_the_page_of_strategies_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """And it names every objective that there is."""
    from ppl_vae import objectives, strategies

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(strategies, "STRATEGIES", dict(strategies.STRATEGIES))
    exec(compile("\n".join(blocks("docs/inference.md", "python")), "docs/inference.md", "exec"), {})
    out = capsys.readouterr().out
    assert "log_variance" in out and "numpyro: " in out and "Tempered(num_particles=8" in out
    text = (ROOT / "docs" / "inference.md").read_text(encoding="utf-8")
    names = [n for n, v in vars(objectives).items() if isinstance(v, type) and issubclass(v, objectives.Objective)]
    bases = {n for n in names if n.endswith("Objective")}
    assert len(names) > 20 and {n for n in names if f"`{n}(" not in text} == bases


@pytest.mark.slow
def test_the_page_of_canvases_runs(capsys: pytest.CaptureFixture) -> None:
    exec(compile("\n".join(blocks("docs/attend_infer_repeat.md", "python")), "docs/attend_infer_repeat.md", "exec"), {})
    right, elbo = map(float, capsys.readouterr().out.split())
    assert 0 <= right <= 1 and elbo > 0


def test_the_page_of_tables_runs(capsys: pytest.CaptureFixture) -> None:
    exec("\n".join(blocks("docs/tables.md", "python")), {})
    assert "('real', 'positive', 'count', 'boolean', 'categorical:3', 'ordinal:4')" in capsys.readouterr().out


def test_the_page_of_sequences_runs(capsys: pytest.CaptureFixture) -> None:
    exec(compile("\n".join(blocks("docs/sequences.md", "python")), "docs/sequences.md", "exec"), {})
    assert "(50, 60, 12) (60, 12)" in capsys.readouterr().out


@pytest.mark.slow
def test_the_page_of_critics_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """And on both backends the total correlation that a critic sees is nearly the one in closed form."""
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks("docs/adversarial.md", "python")), "docs/adversarial.md", "exec"), {})
    told = re.findall(r"(\w+): total correlation (\S+) nats, (\S+) in closed form", capsys.readouterr().out)
    assert [name for name, *_ in told] == ["pyro", "numpyro"]
    for name, learned, exact in told:
        assert (
            float(learned) == pytest.approx(float(exact), abs=0.05) and (tmp_path / f"calibration-{name}.png").exists()
        )


def test_the_page_of_implicit_models_runs() -> None:
    exec(compile("\n".join(blocks("docs/gan.md", "python")), "docs/gan.md", "exec"), {})


@pytest.mark.slow
def test_the_page_of_chains_runs(capsys: pytest.CaptureFixture) -> None:
    """And the bounds that it shows are on their sides of each other, but for error."""
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks("docs/chains.md", "python")), "docs/chains.md", "exec"), names)
    out = capsys.readouterr().out
    assert "r_hat" in out and all(method in out for method in ("importance", "refined", "hmc"))
    by_annealing, by_importance, bounds = (names[n] for n in ("by_annealing", "by_importance", "bounds"))
    assert abs(by_annealing.mean - by_importance.mean) < 4 * by_annealing.mean_mc_error + 0.3
    assert bounds.gap > -4 * bounds.gap_error
    assert names["told"].posterior["z"].dims == ("chain", "draw", "datum", "z_dim")


@pytest.mark.slow
def test_the_page_on_completing_images_runs(capsys: pytest.CaptureFixture) -> None:
    """And the numbers that it prints are in the order that they must have."""
    code = "\n".join(blocks("docs/image_completion.md", "python"))
    names: dict[str, object] = {}
    exec(compile(code, "docs/image_completion.md", "exec"), names)
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", capsys.readouterr().out)]
    exact, half, fitted, conditional, error = numbers
    assert half < fitted < exact < 0 and conditional < 0 < error
    assert names["completed"].shape == names["halves"].shape == (3, 20, 64)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_page_of_autoregressive_nets_runs(capsys: pytest.CaptureFixture) -> None:
    code = "\n".join(blocks("docs/autoregressive.md", "python"))
    exec(compile(code, "docs/autoregressive.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[1] == "(4, 64)"


@pytest.mark.slow
def test_the_page_on_coding_runs(capsys: pytest.CaptureFixture) -> None:
    exec(compile("\n".join(blocks("docs/bits_back.md", "python")), "docs/bits_back.md", "exec"), {})
    length, bound = map(float, capsys.readouterr().out.split())
    assert length == pytest.approx(bound, rel=0.03)


@pytest.mark.slow
def test_the_page_of_diagnostics_runs(capsys: pytest.CaptureFixture) -> None:
    exec(compile("\n".join(blocks("docs/diagnostics.md", "python")), "docs/diagnostics.md", "exec"), {})
    out = capsys.readouterr().out
    assert "amortisation" in out and "of the images have a k-hat above 0.7" in out and "log p(x, z)" in out


@pytest.mark.slow
def test_the_page_of_estimators_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """And it shows what its code prints, up to the last digits."""
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks("docs/scikit_learn.md", "python")), "docs/scikit_learn.md", "exec"), {})
    (shown,), printed = blocks("docs/scikit_learn.md", "text"), capsys.readouterr().out
    number = r"-?\d+\.\d+"
    assert re.sub(number, "#", printed) == re.sub(number, "#", shown)
    numbers = [[float(n) for n in re.findall(number, text)] for text in (printed, shown)]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.03)
    assert (tmp_path / "estimator.png").exists() and list((tmp_path / "runs" / "digits").iterdir())


def test_the_readme_shows_the_model_as_it_is() -> None:
    whole = blocks("README.md", "python")[1].splitlines()
    assert len(whole) == 6 and "def forward(self, x=None, *, mask=None, size=1):" in whole[2]
    shown = whole[-3:]
    source = (ROOT / "ppl_vae" / "models" / "vae.py").read_text(encoding="utf-8")
    for line in shown:
        assert line.strip() in source


def test_the_readmes_test_command_is_that_of_ci() -> None:
    commands = [line for block in blocks("README.md", "bash") for line in block.splitlines() if "pytest" in line]
    assert len(commands) == 1 and commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
