"""What the machine itself can do, measured beside the rows: how much is left to gain.

Two ceilings. Rows with many sequences are matrix products: their ceiling is the rate of a large
product by the best library at hand. A step of one sequence reads every weight for one multiply-add:
its ceiling is the rate at which both processors read so many bytes again and again.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from grid import THREADS, Work
from timing import settle

READER = """
typedef unsigned long long lanes __attribute__((vector_size(32)));  /* wider ones go to memory */
unsigned long long read_all(const lanes *p, long count, long times) {
    lanes a = {0}, b = {0}, c = {0}, d = {0};
    for (long k = 0; k < times; ++k) {
        for (long j = 0; j + 4 <= count; j += 4) {
            a ^= p[j]; b ^= p[j + 1]; c ^= p[j + 2]; d ^= p[j + 3];
        }
        __asm__ volatile("" ::: "memory");  /* read it again, do not remember it */
    }
    a ^= b ^ c ^ d;
    return a[0] ^ a[1] ^ a[2] ^ a[3];
}
"""


def product_rate(size: int = 1024, tries: int = 15) -> float:
    """Operations a second of a large float32 product, by the better of NumPy and PyTorch."""
    a, b = np.random.default_rng(0).standard_normal((2, size, size), np.float32)
    out = np.empty_like(a)
    products: list[Callable[[], object]] = [lambda: np.matmul(a, b, out=out)]
    try:
        import torch
    except ImportError:
        pass
    else:
        tensors = [torch.from_numpy(array) for array in (a, b, out)]
        products.append(lambda: torch.mm(tensors[0], tensors[1], out=tensors[2]))
    best = np.inf
    for product in products:
        settle()
        product()
        for _ in range(tries):
            start = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


@lru_cache
def _reader() -> Callable[[int, int, int], int] | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "read.c"), Path(folder, "read.so")
        source.write_text(READER)
        command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-w", str(source)]
        if subprocess.run([*command, "-o", str(library)], capture_output=True).returncode:
            return None
        read = ctypes.CDLL(str(library)).read_all
    read.argtypes, read.restype = (
        (ctypes.c_void_p, ctypes.c_long, ctypes.c_long),
        ctypes.c_ulonglong,
    )
    return read


def read_rate(size: int, tries: int = 25, sample: float = 0.002) -> float | None:
    """Bytes a second when each of two threads reads its half of ``size`` bytes again and again.

    None without a C compiler: a loop in Python or a call of a library a pass would measure itself.
    """
    read = _reader()
    if read is None:
        return None
    vectors = max(4, size // THREADS // 32)
    buffers = [np.zeros(32 * vectors + 64, np.uint8) for _ in range(THREADS)]
    addresses = [-(-buffer.ctypes.data // 64) * 64 for buffer in buffers]
    times = 1 + int(sample * 50e9 / (32 * vectors))
    bytes_read = THREADS * 32 * (vectors // 4 * 4) * times
    best = np.inf
    with ThreadPoolExecutor(THREADS) as threads:  # ctypes lets go of the GIL
        settle()
        for _ in range(tries):
            start = time.perf_counter()
            for job in [threads.submit(read, address, vectors, times) for address in addresses]:
                job.result()
            best = min(best, time.perf_counter() - start)
    return bytes_read / best


def ceiling(work: Work, tokens: int) -> dict[str, float | str] | None:
    """Return the least time that the row's work can take here, and what it is reckoned from."""
    if work.batch > 1:
        rate = product_rate()
        return {"kind": "product", "seconds": work.flops(tokens) / rate, "flops_a_second": rate}
    # One sequence: its input can be projected in one product, its recurrence cannot.
    size = work.weight_bytes
    found: dict[str, float | str] = {"kind": "weights", "seconds": 0.0}
    if work.steps > 1:
        projection = 8 * tokens * work.hidden_size * work.input_size
        size -= 16 * work.hidden_size * work.input_size
        found["flops_a_second"] = product_rate()
        found["seconds"] = projection / float(found["flops_a_second"])
    rate = read_rate(size)
    if rate is None:
        return None
    found |= {"bytes": size, "bytes_a_second": rate}
    found["seconds"] = float(found["seconds"]) + work.steps * size / rate
    return found
