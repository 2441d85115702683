"""Experiments with softmax variants: data, training, comparison and report."""

import os
from pathlib import Path

# Where libtpu is installed, for `aot`, JAX tries it for devices, and without a TPU it complains on
# stderr each time, unless it is told what it would run on.
if not any([*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/*")]):
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
