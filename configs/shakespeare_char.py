"""A small GPT on characters: nanoGPT's CPU run, and attention normalisers by output losses.

4 layers, 4 heads, width 128, context 64, batches of 12 windows, 2,000 steps of AdamW. nanoGPT
publishes a validation loss of 1.88 for it, from 20 batches of the last tenth of the text. Here the
loss is over the whole of it. FILE is Tiny Shakespeare; without `--data.path` the text is the
standard library's sources, and its losses are others.

Command:   python -m experiments train configs/shakespeare_char.py --data.path FILE
Hardware:  2 cores of an AMD EPYC
Time:      2 min
Result:    1.7714 nats, 2.5555 bits a character, accuracy 47.1%. With nanoGPT's first weights
           (--first-weights nanogpt) 1.9093. Everything else is as there: the losses of the first
           10 steps agree with torch's within 2e-6 (python -m experiments bench gpt).

Command:   python -m experiments compare configs/shakespeare_char.py --data.path FILE
Budget:    21 models, each with 3 learning rates by 100 steps, then 3 seeds by 300 steps
Result:    not measured with tuned rates
"""

from experiments.shakespeare.config import ShakespeareConfig


def get_config() -> ShakespeareConfig:
    """Returns the config of the small language model."""
    return ShakespeareConfig()
