"""The report of a run on words: results.json, the plots as SVG files, and one page."""

from pathlib import Path
from typing import Any

from experiments.page import (
    Plots,
    findings,
    gallery,
    method,
    section,
    wide,
    write_page,
)
from experiments.run_directory import read_run
from experiments.words import plots, report_tables
from experiments.words.config import WordsConfig
from experiments.words.results import summarise
from experiments.words.summary import sentences

Figures = dict[str, Any]
_TASKS = {"skipgram": "a word near another one", "ngram": "the next word"}


def write_report(path: Path) -> Figures:
    """Writes all that follows from the records of a run, and returns its figures."""
    config, blocks, environment = read_run(path, WordsConfig)
    results = summarise(config, blocks)
    drawings = _drawings(results)
    sections = [
        section("In short", findings(sentences(results))),
        section("How it was done", method(_method(results))),
        *_of_tasks(results, drawings),
        *_of_scaling(results, drawings),
    ]
    title = f"Output layers for many words: {path.name}"
    write_page(path, title, _facts(results), sections, results, drawings, environment)
    return results


def _drawings(results: Figures) -> Plots:
    """Returns the heading, the columns and the panels of each file of plots that has any."""
    found: Plots = {}
    for task in results["tasks"]:
        name = task["name"]
        found[f"{name}_overview"] = (f"{name}: quality and speed", 1, [plots.overview(task)])
        heading = f"{name}: validation NLL over seconds of training; grey: full"
        found[f"{name}_curves"] = (heading, 5, plots.learning_curves(task))
        heading = f"{name}: test NLL less that of full, by the rank of the word"
        found[f"{name}_buckets"] = (heading, 5, plots.bucket_panels(task))
    heading = "Time of a step over the size of the vocabulary; grey: full"
    found["scaling_time"] = (heading, 5, plots.step_time(results))
    heading = "Temporary memory of a step over the size of the vocabulary; grey: full"
    found["scaling_memory"] = (heading, 5, plots.step_memory(results))
    return {name: drawn for name, drawn in found.items() if drawn[2]}


def _facts(results: Figures) -> dict[str, str]:
    corpus, config = results["corpus"], results["config"]
    if corpus is None:
        return {}
    seeds = f"{config['seeds']} seeds, {config['steps']} steps of {config['batch_size']} words"
    return {
        "Text": corpus["source"],
        "Words": f"{corpus['words']:,}, {corpus['distinct']:,} of them different",
        "Vocabulary": f"{corpus['vocabulary']:,}",
        "Training": seeds,
    }


def _of_tasks(results: Figures, drawings: Plots) -> list[str]:
    parts = []
    for index, task in enumerate(results["tasks"]):
        name = task["name"]
        title = f"{name}: {_TASKS[name]}"
        chart = drawings[f"{name}_overview"][2][0]
        text = (
            "<p>Each dot is a head: how many words a second it trains on (right is faster), and "
            "how well it then predicts held-out words (down is better). Its name and its test NLL "
            "stand to the right.</p>"
        )
        content = f"{text}{wide(chart)}"
        parts.append(section(title, content + report_tables.figures(results, index), name))
        for kind, heading, words in (
            ("curves", "validation NLL over time", _curves_text(results, task)),
            ("buckets", "by frequency", _BUCKETS),
        ):
            if f"{name}_{kind}" in drawings:
                parts.append(gallery(f"{name}: {heading}", words, drawings[f"{name}_{kind}"][2]))
    return parts


def _of_scaling(results: Figures, drawings: Plots) -> list[str]:
    config = results["config"]
    about = (
        "One training step of the skip-gram model, its embeddings included, over a synthetic "
        "vocabulary whose words have Zipf's frequencies; nothing is learned here. Both scales are "
        f"logarithmic, grey is full softmax. A head that would work out more than "
        f"{config['scaling_logits']:,} logits in a step is left out of a size."
    )
    parts = []
    for name, title, text in (
        ("scaling_time", "Time of a step, by the size of the vocabulary", about),
        ("scaling_memory", "Memory of a step, by the size of the vocabulary", _MEMORY),
    ):
        if name in drawings:
            parts.append(gallery(title, text, drawings[name][2]))
    return parts


def _curves_text(results: Figures, task: Figures) -> str:
    text = (
        "Exact NLL on the validation part (down is better) over the seconds of training, without "
        "evaluation, on a logarithmic scale: steps times the median time of a step. The line is "
        "the mean over seeds, the band their range. Grey: full softmax. All heads take the same "
        "number of steps on the same words, so that a fast head's line ends early."
    )
    if task["quality"] is not None:
        part = f"{100 * results['config']['quality']:g}%"
        text += f" Dashed: the quality to reach, that of full softmax after {part} of its steps."
    return text


_BUCKETS = (
    "The test NLL less that of full softmax, by the rank of the word that is predicted: above the "
    "line a head is worse than full softmax on these words, below it better. 1 are the ten most "
    "frequent words, 10 those of rank 11 to 100, and so on; <b>rest</b> is the mark for all "
    "words outside of the vocabulary."
)
_MEMORY = (
    "What the program of a step needs besides its parameters, Adagrad's sums and its batch, as XLA "
    "reports it. Both scales are logarithmic, grey is full softmax."
)


def _method(results: Figures) -> list[str]:
    config = results["config"]
    rates = ", ".join(f"{rate:g}" for rate in config["learning_rates"])
    level = f"{100 * results['confidence']:g}%"
    corpus = results["corpus"] or {"others_share": 0.0}
    return [
        "<b>skipgram</b> sees one word, whose embedding is the hidden state, and predicts a word "
        f"up to {config['window']} away. <b>ngram</b> sees {config['context']} words, whose "
        "embeddings go through one layer of tanh, and predicts the next. Embeddings and hidden "
        f"state have {config['features']} features.",
        f"The text is cut into passages of {config['passage']:,} words; of every "
        f"{config['held_out']} passages one is for validation and one for the test. Held-out "
        "passages are from the same files as the training part. The vocabulary and the counts, "
        "which trees, samplers and cutoffs are made of, are those of the training part; "
        f"{100 * corpus['others_share']:.1f}% of the text is outside of the vocabulary, and "
        "counts as one word.",
        "Every head has the same body. A seed has one set of initial embeddings and one order of "
        f"the data for all heads, so that differences are paired; each takes {config['steps']} "
        f"steps of {config['batch_size']} words. The first biases of every head are those of the "
        "words' frequencies, so that none has to learn these from nothing; within the tails of "
        "the adaptive softmax, which have no bias, words start equally frequent.",
        "The optimiser is Adagrad for everything. It leaves a row alone whose gradient is zero, so "
        "that updating only the rows of a step (sampled and hierarchical heads, and all "
        "embeddings) is what updating whole tables would be. The other heads update whole tables. "
        f"Its rate is chosen from {rates}: the first seed tries each for "
        f"{100 * config['pilot']:g}% of the steps, and the lowest validation NLL decides for all "
        "seeds.",
        "Every NLL is the exact negative log-probability of the word among all words of the "
        "vocabulary, never a training objective: sampled heads are normalised over all words, "
        "negative sampling after adding log q. Sampled softmax and NCE draw "
        f"{config['num_sampled']} words for a batch, negative sampling {config['negatives']}.",
        f"Intervals are {level}, Student's t over seeds, simultaneous for the differences to full "
        "softmax in a task (Bonferroni). The text and its division are the same for all seeds, so "
        "that intervals tell how a result varies with the initial weights and the order of the "
        "data, and not over texts.",
        "The clustered tree halves the words by vectors of their neighbours' counts in the "
        "training part, which no other head is told; its making is not in the training time.",
        f"Speed was measured after training in {config['speed_rounds']} rounds in which the heads "
        "took turns, compilation and evaluation apart; medians. Memory is what XLA reports for "
        "the compiled program.",
    ]
