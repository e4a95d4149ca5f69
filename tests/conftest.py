"""Set before numpy is imported: OpenBLAS threads spin on small matrices and cost more than they give."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
