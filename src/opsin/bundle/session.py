"""The onnxruntime session that answers, and its options: the one place where they are set.

Measured by `benchmarks/session_options.py` on 2 cores, onnxruntime 1.31, a MobileNetV2 at 224 px,
ms a call, median and 95th percentile, with other programs running (load 4 to 10):

                        batch 1      batch 8        batch 32
    2 threads, spinning 39.7  52     392  674       1820 2107
    2 threads           19.7  33     249  332       1587 1810
    1 thread            25.6  42     308  404       1656 2180

A thread that waits for the others spins for a while by default, which on a machine with anything
else to do takes the very time that the awaited thread needs. Graph optimisation `all` halves the
time beside `extended` and `basic` (blocked layouts for convolutions: 10.2 beside 21.9 ms at batch
1); the memory arena saves up to a third at batch 8 (59 beside 81 ms) and the reuse of memory by
pattern moves nothing; parallel execution of branches costs a factor of 2. All three are therefore
left as onnxruntime has them, and stand here so that another release cannot change them unseen.

Large batches are slow: what passes between layers no longer fits the caches. ms a picture, median
and least, same machine and load: in ones 19.7 8.0, twos 21.0 7.2, fours 20.8 9.1, eights 38.6 19.5,
all 32 at once 45.2 41.0. At 64 px (TinyVGG) 1 and 32 are alike. Hence `pictures_at_once`.
"""

from __future__ import annotations

from typing import Any

from opsin.core.cores import usable_cores

PIXELS_AT_ONCE = 4 * 224 * 224
"""Of all pictures in one call; the cost of a call is that of much fewer."""


def open_session(graph: bytes, *, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU. `threads`: 0 for `usable_cores()`.

    Raises onnxruntime's own exceptions, which have no common public base.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Never onnxruntime's own 0: it counts the machine's cores, also those that are not ours, and
    # ties its threads to them.
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def pictures_at_once(size_px: tuple[int, int]) -> int:
    """How many pictures of (H, W) are best asked about in one call.

    >>> pictures_at_once((224, 224)), pictures_at_once((64, 64)), pictures_at_once((2000, 2000))
    (4, 49, 1)
    """
    height, width = size_px
    return max(1, PIXELS_AT_ONCE // (height * width))
