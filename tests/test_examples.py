import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_benchmark_s_steps_give_one_gradient():
    done = subprocess.run([sys.executable, EXAMPLES / "benchmark.py", "--quick"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tinygrad_rnn 0.1.0" in done.stdout and "1,000 in a chain" in done.stdout
