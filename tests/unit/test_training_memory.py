import platform
import subprocess
import sys

import pytest

# Steps that allocate eight blocks and free them, in a process whose heap nothing else has shaped; without the call at
# the top it has 150,000 page faults in most runs.
STEPS = """
import resource, torch
from hallucade.training.memory import keep_freed_memory
torch.set_num_threads(1)
keep_freed_memory()
def step(size):
    return [torch.ones(size) for _ in range(8)]
faults = 0
for size in (1 << 19, 3 << 18, 1 << 20, 3 << 19):
    for _ in range(3):
        step(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step(size)
    faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other rules")
def test_steps_reuse_the_memory_that_earlier_steps_freed() -> None:
    result = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 1000
