"""Estimators of the gradient of a categorical autoencoder on the digits, beside the exact one.

Command:   python -m experiments compare configs/vae.py
Hardware:  2 cores of an AMD EPYC
Time:      5 min 33 s
Result:    256 codes, exact test ELBO in nats an image, 8 seeds, simultaneous 95% intervals over 38
           estimators, each at its own learning rate of 0.003, 0.0065, 0.014 and 0.03. exact -19.11
           +- 0.09; against it, Gumbel-softmax annealed from 1 to 0.1 -0.32 +- 0.46 and
           Gumbel-entmax 1.5 annealed -0.38 +- 0.61 (no difference shown), Gumbel-sparsemax at 1
           -0.46 +- 0.41, Gumbel-softmax at 0.3 -0.47 +- 0.25, score function with leave-one-out
           baseline -0.64 +- 0.49, straight-through entmax annealed -0.79 +- 0.44, score function
           without baseline -3.43 +- 1.99. With the temperature tuned in the 4 candidates that
           everyone has: Gumbel-sparsemax -0.44 +- 0.41, Gumbel-softmax -0.97 +- 0.40.
           Gradient of the encoder at the end of the exact run, over the length of the exact one:
           Gumbel-softmax at 3 has a bias of 2.035 +- 0.008 and a variance of 0.58, at 0.2 a bias
           of 0.46 +- 0.07 and a variance of 36; Gumbel-sparsemax at 0.2 has less bias (below 0.35)
           and more variance (146). Straight-through keeps a bias of about 1.5 at the lowest
           temperature. The score function's bias is below 0.12 with the baseline, where its
           variance is 28 instead of 777.
"""

from experiments.vae.config import VaeConfig


def get_config() -> VaeConfig:
    """Returns the config of the comparison of estimators."""
    return VaeConfig()
