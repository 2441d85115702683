"""What the report of the estimators shows besides: figures by temperature, and gradients."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from experiments.charts import significant
from experiments.engine.config import Blocks
from experiments.engine.extras import Part
from experiments.engine.report_tables import anchor
from experiments.html_tables import cell, filters, linked, plain_cell, table
from experiments.measured import layout, plus_minus
from experiments.vae import plots, tables
from experiments.vae.config import VaeConfig
from experiments.vae.contenders import SCORE_FUNCTION, Contender, Method, chosen_contenders
from experiments.vae.figures import gradients, training_elbos
from experiments.wording import interval, verdicts

Figures = dict[str, Any]


def all_parts(config: VaeConfig, results: Figures, blocks: Blocks) -> list[Part]:
    """Returns the parts of the report of a run."""
    finished = {c["name"] for c in results["contenders"]}
    contenders = [c for c in chosen_contenders(config) if c.name in finished]
    found = [_by_temperature(config, results, blocks, contenders)] if contenders else []
    measured = gradients(config, blocks)
    return [*found, _of_gradients(config, measured)] if measured else found


def _by_temperature(
    config: VaeConfig, results: Figures, blocks: Blocks, contenders: Sequence[Contender]
) -> Part:
    trained = training_elbos(results, blocks)
    tested = {c["name"]: c["metrics"]["elbo"] for c in results["contenders"]}
    tuned = {c["name"]: c["tuned"].get("temperature") for c in results["contenders"]}
    training = {name: figures["elbo"] for name, figures in trained.items()}
    body = _TEMPERATURES + "".join(
        f"<p><b>{escape(title)}</b></p>{_matrix(contenders, found, tuned, path)}"
        for title, found, path in (
            (_TESTED, tested, ""),
            (_TRAINED, training, "more.temperatures."),
        )
    )
    markdown = "\n\n".join(
        f"{title}:\n\n{_plain_matrix(contenders, found, tuned)}"
        for title, found in ((_TESTED, tested), (_TRAINED, training))
    )
    return Part(
        name="temperatures",
        title="ELBO by temperature",
        body=body,
        drawings={
            "temperatures": plots.elbo_chart(config, contenders, tested.get, _TESTED),
            "temperatures_training": plots.elbo_chart(config, contenders, training.get, _TRAINED),
        },
        findings=[*_on_training(trained), *_tuned(contenders, tested, tuned)],
        figures=trained,
        tables={"training_elbo.csv": tables.training_lines(trained)},
        markdown=markdown,
    )


def _rows(contenders: Sequence[Contender]) -> dict[Method, dict[str, Contender]]:
    """Returns the contenders of each method by the words for their temperatures."""
    found: dict[Method, dict[str, Contender]] = {}
    for contender in contenders:
        found.setdefault(contender.method, {})[contender.label] = contender
    return found


def _labels(contenders: Sequence[Contender]) -> list[str]:
    return list(dict.fromkeys(c.label for c in contenders))


def _matrix(
    contenders: Sequence[Contender],
    found: Mapping[str, Figures | None],
    tuned: Mapping[str, float | None],
    path: str,
) -> str:
    """Returns a table of one row for each method and one column for each temperature."""
    labels, rows = _labels(contenders), []
    places = {name: number for number, name in enumerate(found)}
    for method, members in _rows(contenders).items():
        cells = []
        for label in labels:
            if label not in members:
                cells.append('<td data-value=""></td>')
                continue
            name = members[label].name
            at = f"{path}{name}.elbo" if path else f"contenders[{places[name]}].metrics.elbo"
            cells.append(cell(found[name], at, 1.0, 2, f"#{anchor(name)}"))
        own = f"{method}_tuned"
        at = f"contenders[{places.get(own)}].tuned.temperature"
        cells.append(
            plain_cell(tuned.get(own), at, 1.0, 2, f"#{anchor(own)}")
            if own in places
            else '<td data-value=""></td>'
        )
        rows.append(f'<tr><th scope="row" data-value="{method}">{method}</th>{"".join(cells)}</tr>')
    return table(["Method", *map(_heading, labels), "Tuned to"], rows)


def _plain_matrix(
    contenders: Sequence[Contender],
    found: Mapping[str, Figures | None],
    tuned: Mapping[str, float | None],
) -> str:
    """Returns the same in plain text: methods without a temperature have a table of their own."""
    without = [c for c in contenders if c.temperature == "none"]
    others = [c for c in contenders if c.temperature != "none"]
    made = []
    for members_of, more in ((without, []), (others, ["tuned to"])):
        labels, rows = _labels(members_of), []
        for method, members in _rows(members_of).items():
            texts = [
                plus_minus(found[members[label].name], 1.0, 2) if label in members else ""
                for label in labels
            ]
            chosen = tuned.get(f"{method}_tuned")
            texts += ["" if chosen is None else f"{chosen:.2f}" for _ in more]
            rows.append([method, *texts])
        if rows:
            made.append(_indented(layout(["", *map(_heading, labels), *more], rows)))
    return "\n\n".join(made)


def _heading(label: str) -> str:
    return {"none": "no T", "annealed": "annealed", "tuned": "tuned"}.get(label, f"T = {label}")


def _on_training(trained: Figures) -> list[str]:
    """Says who optimises the training images differently from the exact gradient."""
    shown = {name: f["difference"] for name, f in trained.items() if f["difference"]}
    if not shown:
        return []
    return [f"In the ELBO of the training images, against `exact`: {verdicts(shown)}."]


def _tuned(
    contenders: Sequence[Contender],
    tested: Mapping[str, Figures | None],
    tuned: Mapping[str, float | None],
) -> list[str]:
    """Says what temperatures tuning chose, and where that led; the table has the fixed ones."""
    found = []
    for method, members in _rows(contenders).items():
        own, chosen = members.get("tuned"), tuned.get(f"{method}_tuned")
        figures = tested.get(own.name) if own else None
        if figures is not None and chosen is not None:
            found.append(
                f"`{method}`, temperature tuned to {chosen:.2g} on validation data: test ELBO "
                f"{interval(figures, digits=2)}."
            )
    return found


def _of_gradients(config: VaeConfig, measured: Sequence[Figures]) -> Part:
    drawings = {
        f"{moment}_{step}": plots.gradient_chart(config, measured, number, moment)
        for moment in plots.MOMENTS
        for number, step in enumerate(config.probe_steps)
    }
    text = f"<p>{_MEASURED.format(draws=config.draws, images=config.probe_images)}</p>"
    return Part(
        name="gradients",
        title="Gradients against the exact one",
        body=text + _moments_table(measured),
        drawings=drawings,
        findings=[*_unbiased(measured), *_trade(measured), *_failed(measured)],
        figures={"methods": list(measured)},
        tables={"gradients.csv": tables.gradient_lines(measured)},
        markdown=_plain_gradients(config, measured),
    )


def _moments_table(measured: Sequence[Figures]) -> str:
    """Returns bias, variance and cosine of every measured gradient: a row for each place."""
    head = ["Estimator", "After step", "Encoder: bias", "variance", "cosine"]
    head += ["Decoder: bias", "variance", "cosine"]
    rows = []
    for i, method in enumerate(measured):
        style = plots.STYLES[method["method"]]
        target = "#" + anchor(f"more/gradients/{method['method']}")
        for j, entry in enumerate(method["temperatures"]):
            name = escape(tables.label(method["method"], entry["temperature"]))
            for k, probe in enumerate(entry["probes"]):
                place = f"more.gradients.methods[{i}].temperatures[{j}].probes[{k}]"
                cells = [plain_cell(probe["step"], f"{place}.step", 1.0, 0, target)]
                for part in ("encoder", "decoder"):
                    cells += _cells(f"{place}.{part}", probe[part], target)
                rows.append(
                    f'<tr data-group="{method["method"]}"><th scope="row" data-value="{name}">'
                    f'<i class="{style}"></i>{name}</th>{"".join(cells)}</tr>'
                )
    names = [method["method"] for method in measured]
    buttons = filters({name: name for name in names}, {n: plots.STYLES[n] for n in names})
    return buttons + table(head, rows)


def _cells(place: str, moments: Figures, target: str) -> list[str]:
    bias = moments["bias"]
    value = "" if bias["estimate"] is None else repr(bias["estimate"])
    known = bias["upper"] is not None
    shown = linked(escape(tables.bias_text(bias)), target if known else "")
    return [
        f'<td title="{place}.bias" data-value="{value}">{shown}</td>',
        cell(moments["variance"], f"{place}.variance", 1.0, 3, target),
        cell(moments["cosine"], f"{place}.cosine", 1.0, 3, target),
    ]


def _plain_gradients(config: VaeConfig, measured: Sequence[Figures]) -> str:
    """Returns bias and variance of the encoder's gradient along the exact run."""
    header = ["encoder's gradient"]
    header += [f"{name} @{step}" for name in plots.MOMENTS for step in config.probe_steps]
    rows = []
    for method in measured:
        for entry in method["temperatures"]:
            moments = [probe["encoder"] for probe in entry["probes"]]
            row = [tables.label(method["method"], entry["temperature"])]
            row += [tables.bias_text(m["bias"]) for m in moments]
            row += [_estimate(m["variance"]) for m in moments]
            rows.append(row)
    level = f"{100 * config.confidence:g}%"
    note = (
        "Of one batch, at the weights of the exact run @ so many steps. bias: length of the mean "
        "error over that of the exact\n"
        f"gradient, ± half its {level} Monte Carlo interval, < the upper limit where it reaches 0; "
        "variance: total, over the square;\n"
        f"{config.draws:,} draws each."
    )
    return f"{_indented(layout(header, rows))}\n\n{note}"


def _estimate(moment: Figures) -> str:
    return "–" if moment["estimate"] is None else significant(moment["estimate"])


def _indented(text: str) -> str:
    """Returns text as Markdown leaves it: every line four columns in."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _unbiased(measured: Sequence[Figures]) -> list[str]:
    """Says whether the score function's measured bias may be zero everywhere."""
    found = []
    for method in measured:
        if method["method"] in SCORE_FUNCTION and method["temperatures"]:
            biases = [p["encoder"]["bias"] for p in method["temperatures"][0]["probes"]]
            zero = sum(bias["lower"] == 0 for bias in biases)
            limits = [float(bias["upper"]) for bias in biases if bias["upper"] is not None]
            if limits:
                found.append(
                    f"`{method['method']}`, unbiased by construction: the interval of the "
                    f"encoder's bias reaches zero at {zero} of {len(biases)} places, with "
                    f"{max(limits):.2g} of the exact gradient's length as the largest upper limit."
                )
    return found


def _trade(measured: Sequence[Figures]) -> list[str]:
    """Says how bias and variance change from the highest to the lowest temperature."""
    found = []
    for method in measured:
        entries = [e for e in method["temperatures"] if e["temperature"] is not None]
        if len(entries) < 2:
            continue
        entries = sorted(entries, key=lambda e: float(e["temperature"]))
        cold, hot = (entries[i]["probes"][-1]["encoder"] for i in (0, -1))
        low, high = (f"{entries[i]['temperature']:g}" for i in (0, -1))
        if None in (cold["variance"]["estimate"], hot["variance"]["estimate"]):
            continue
        found.append(
            f"`{method['method']}` at the end of the exact run, from temperature {high} to {low}: "
            f"bias {tables.bias_text(hot['bias'])} to {tables.bias_text(cold['bias'])}, variance "
            f"{_two_digits(hot['variance'])} to {_two_digits(cold['variance'])}, of "
            "the exact gradient's length and its square."
        )
    return found


def _two_digits(figures: Figures) -> str:
    """Returns a positive figure with its interval, however small it is."""
    text = significant(figures["estimate"])
    if figures["lower"] is None or figures["upper"] is None:
        return text
    return f"{text} ± {significant((figures['upper'] - figures['lower']) / 2.0)}"


def _failed(measured: Sequence[Figures]) -> list[str]:
    return [
        f"The gradient of `{m['method']}` was not measured: {m['why']}."
        for m in measured
        if m["status"] == "failed"
    ]


_TESTED = "exact ELBO of the test images"
_TRAINED = "exact ELBO of the training images"
_LINES = (
    "Full lines: relaxed samples; broken lines: straight-through, one-hot forward; grey: the "
    "estimators without a temperature, the broken one without a baseline. Names stand beside the "
    "last point of each line, with its value."
)
_TEMPERATURES = (
    "<p>Nats an image, up is better; the mean over seeds and its interval, each model at the "
    "learning rate that was tuned for it. Every ELBO is a sum over all codes, whatever the model "
    "was trained with. That of the training images says how well an estimator optimises; that of "
    f"the test images depends on how well the optimum generalises too. {_LINES}</p>"
)
_MEASURED = (
    "Bias: how far the mean gradient is from the exact one, relative to the exact one’s length. "
    "Variance: total, relative to the square of that length. Cosine: the mean, of one random "
    "gradient with the exact one. All of it for the gradient of the first {images} training images "
    "of the first seed, at the weights that the exact gradient leads to after so many steps; "
    "{draws:,} random gradients in 16 groups. The squared bias is the mean product of the errors "
    "of two different groups, which variance does not add to, with the jackknife’s standard error "
    "over groups; the bias’ limits are the roots of its limits, and what stands after “&lt;” is "
    "the upper limit of an interval that reaches zero, where the charts have no point. "
    f"{_LINES}"
)
