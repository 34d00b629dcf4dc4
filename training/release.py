"""Put a trained model among the shipped ones, with a card that says what it is and how good.

    python -m training.release runs/d8 --evaluation results/d8 --name d8

RUN is a finished folder of training.train, --evaluation one of training.evaluate on that very model. Writes
tgmm_NAME.safetensors, tgmm_NAME.json and tgmm_NAME.md into training/weights (or --out).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import jinja2
import typer

from console.errors import checking_input, run_command
from training.checkpoint import load_model, save_model
from training.released import WEIGHTS, load_released
from training.run_folder import METRICS, MODEL, read_metrics

TEMPLATE = "model_card.md.j2"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="folder of training.train")],
    evaluation: Annotated[Path, typer.Option(help="folder of training.evaluate on this model")],
    name: Annotated[str, typer.Option(help="the name of the preset and of the model")],
    out: Annotated[Path, typer.Option(help="folder of released models")] = WEIGHTS,
) -> int:
    """Release; see the module's docstring."""
    with checking_input():
        path = out / f"tgmm_{name}.safetensors"
        tensors, config, facts = load_model(run / MODEL)
        card = model_card(name, run, evaluation)
        out.mkdir(parents=True, exist_ok=True)
        save_model(path, tensors, config, facts)
        path.with_suffix(".md").write_text(card, encoding="utf-8")
    print(f"wrote {path}, its .json and its .md")
    return 0


def model_card(name: str, run: Path, evaluation: Path) -> str:
    """The card as Markdown.

    Raises ValueError for files that are missing or damaged, and for an evaluation of another model.
    """
    released = load_released(run / MODEL)
    measured = _read(evaluation / "results.json")
    digests = [model.get("sha256") for model in measured.get("models", [])]
    if released.sha256 not in digests:
        raise ValueError(f"{evaluation}: is no evaluation of {run / MODEL}; run training.evaluate on it")
    facts = released.training
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701  Markdown from our own files
    )
    return environment.get_template(TEMPLATE).render(
        name=f"tgmm_{name}",
        preset=name,
        sha256=released.sha256,
        kilobytes=round((run / MODEL).stat().st_size / 1000),
        facts=facts,
        evaluation=measured,
        curve=learning_curve(run / METRICS),
        **facts["config"],
    )


def learning_curve(metrics: Path) -> list[dict[str, Any]]:
    """One entry for each evaluation of a run: step, network, polished, and the loss logged last before it."""
    found, loss = [], float("nan")
    for line in read_metrics(metrics):
        loss = line.get("loss", loss)
        if "evaluation" in line:
            found.append({"step": line["step"], "loss": loss, **line["evaluation"]})
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ValueError(f"{path}: cannot be read as JSON ({problem})") from None


if __name__ == "__main__":
    sys.exit(run_command(app))
