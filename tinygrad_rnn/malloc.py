"""The C library's memory allocator, set to keep what a training step has freed for the next one.

glibc hands large blocks back to the kernel as soon as they are freed, and fetches them again page by page: half of the
time of a large step. On import the process is told to keep up to 1 GB of them. With the environment variable
TINYGRAD_RNN_MALLOC=0 the allocator is left alone; where it is not glibc's, nothing is done.
"""

import contextlib
import ctypes
import os

if os.environ.get("TINYGRAD_RNN_MALLOC") != "0":
    with contextlib.suppress(AttributeError, OSError, TypeError):
        _mallopt = ctypes.CDLL(None).mallopt
        _mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
        _mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, its largest
