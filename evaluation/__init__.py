"""What does the guard find, at what price? `make evaluate` measures it; README.md says how.

XLA runs on one thread: set before anything imports jax.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
