"""The words of a report on words: how it was done, and what the figures are."""

from typing import Any

Figures = dict[str, Any]

GROWTH = (
    "One training step of one model, its embeddings included, over a synthetic vocabulary whose "
    "words have Zipf's frequencies; nothing is learned here. The median over interleaved rounds, "
    "and the temporary memory, which is what a step needs besides parameters, Adagrad's sums and "
    "its batch, as XLA reports it. A head that would work out more logits in a step than "
    "<code>scaling_logits</code> is left out of a size; a clustered tree needs a text. In the "
    "drawings both scales are logarithmic, and grey is full softmax."
)


def of_buckets(results: Figures) -> str:
    """Says what the NLL by frequency is."""
    reference = f"<code>{results['reference']}</code>"
    return (
        f"The test NLL of {reference} by the rank of the word that is predicted, in the order of "
        f"the frequencies, and under it that of the others less {reference}’s: below zero a head "
        "is better on these words. Intervals are paired by seed, and hold for all heads and ranks "
        "at once; a question mark is a difference among the seeds that one of the two survived, "
        "which is no finding. Other words are the mark for all outside of the vocabulary. In the "
        "drawings the line is over the last rank of each range, on a logarithmic scale."
    )


def of_quality(results: Figures, figures: Figures) -> str:
    """Says what the times to the quality are."""
    config = results["config"]
    level = f"{100 * results['confidence']:g}%"
    return (
        f"The quality is a validation NLL of {figures['nll']:.3f}, that of "
        f"<code>{results['reference']}</code> after {figures['step']:,.0f} of {config['steps']:,} "
        "steps. Steps to it are interpolated between evaluations, seed by seed; of a head that is "
        "there at its first evaluation only the most that it took is known (≤), and its ratio has "
        "no lower limit. Seconds are the mean steps times the median time of a step, which trains "
        "all seeds together: a point estimate. The ratio of the times has an interval: that of the "
        "steps, paired by seed, times that of the time of a step, paired by round, at half of the "
        f"error each, so that it holds with {level} for all heads at once. Words per second are "
        "those of all seeds. A dash: some seed does not come there."
    )


def of_text(results: Figures, data: Figures) -> list[str]:
    """Says how the text is divided, and what the models are."""
    config = results["config"]
    seen = (
        "A model sees one word, whose embedding is the hidden state, and predicts a word up to "
        f"{config['window']} away (skip-gram)."
        if config["task"] == "skipgram"
        else f"A model sees {config['context']} words, whose embeddings go through one layer of "
        "tanh, and predicts the next."
    )
    return [
        f"{data['words']:,} words of {data['source']}, {data['distinct']:,} of them different; a "
        f"vocabulary of {data['vocabulary']:,}, outside of which are "
        f"{100 * data['others_share']:.1f}% of the text, which count as one word. It is cut into "
        f"passages of {config['passage']:,} words; of every {config['held_out']} passages one is "
        "for validation and one for the test, from the same files as the training part. The "
        "vocabulary, and the counts that trees, samplers and cutoffs are made of, are those of "
        "the training part.",
        f"{seen} Embeddings and hidden state have {config['features']} features.",
        "Every head has the same body, and a seed has one set of initial embeddings and one order "
        "of the data for all heads. The first biases of every head are those of the words' "
        "frequencies, so that none has to learn these from nothing; within the tails of the "
        "adaptive softmax, which have no bias, words start equally frequent.",
        "Adagrad leaves a row alone whose gradient is zero, so that updating only the rows of a "
        "step (sampled and hierarchical heads, and all embeddings) is what updating whole tables "
        "would be. The other heads update whole tables. Gradients are of the sum over the batch.",
        f"Sampled softmax and NCE draw {config['num_sampled']} classes for a step, negative "
        f"sampling {config['negatives']}. Whatever a head is trained on, its NLL is exact, over "
        "all classes, in nats.",
    ]
