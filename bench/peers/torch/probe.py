"""What this python3 has, as one line of JSON; and how fast OpenBLAS is under the settings of the environment."""

import json
import time

found = {}
try:
    import torch

    found["torch"] = torch.__version__
    found["cuda"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
except ImportError:
    pass
try:
    import transformers

    found["transformers"] = transformers.__version__
except ImportError:
    pass
try:
    import ctypes

    import numpy as np

    found["numpy"] = np.__version__
    a = np.random.default_rng(1).standard_normal((512, 512), dtype=np.float32)
    best = 1e9
    for _ in range(20):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    found["gflops"] = 2e-9 * 512**3 / best
    blas = ctypes.CDLL("libblas.so.3")
    blas.openblas_get_corename.restype = ctypes.c_char_p
    found["core"] = blas.openblas_get_corename().decode()
except (ImportError, OSError, AttributeError):
    pass
print(json.dumps(found))
