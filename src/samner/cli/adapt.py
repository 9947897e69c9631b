"""``samner adapt``: a task model for a domain, saved as a folder."""

from __future__ import annotations

import shlex

from samner.cli import options
from samner.cli.adapting import Adaptation, given_parameters, show_merges, show_selections
from samner.cli.inputs import check_output_folder, labels_needed, texts_of
from samner.cli.output import console, say, status, write_json


def adapt(
    texts: options.Texts,
    out: options.OutFolder,
    pool: options.Pool = "builtin",
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    mode: options.Mode = "union",
    threshold: options.Threshold = None,
    experts: options.Experts = 3,
    samples: options.Samples = 10,
    seed: options.Seed = 0,
    exclude: options.Exclude = None,
    method: options.Method = "ties",
    density: options.Density = None,
    lam: options.Lam = None,
    param: options.Params = None,
    format: options.Format = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Adapt a pool to a domain, from unlabelled texts and labels, and save the model.

    The experts that fit the texts are selected and merged; nothing is trained. A few hundred texts are plenty.

    Example: samner adapt --labels drug,disease texts.jsonl -o my-domain
    """
    check_output_folder(out)
    types = labels_needed(labels, labels_file)
    read = texts_of(texts, format)
    parameters = given_parameters(density, lam, param or ())
    adaptation = Adaptation(pool, mode, experts, samples, seed, exclude or (), method, parameters, threshold, device)
    model = adaptation(read, types)
    with status("saving the model"):
        model.save(out)
    if json:
        write_json(
            {
                "model": str(out),
                "mode": model.mode,
                "labels": [{"name": t.name, "description": t.description} for t in model.types],
                "threshold": model.threshold,
                "settings": dict(model.settings),
                "merges": {name: dict(merge.experts) for name, merge in model.merges.items()},
                "selections": {name: selection.to_dict() for name, selection in model.selections.items()},
                "warnings": list(model.warnings),
            }
        )
    else:
        show_selections(model.selections, console())
        show_merges(model, console())
    say(f"wrote {out}; next: samner extract --model {shlex.quote(str(out))} TEXTS -o FILE")
