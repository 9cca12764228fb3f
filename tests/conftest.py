import os

# xdist has a process for each core, so that the threads of a product of matrices would wait for each other
for library in ("OPENBLAS", "MKL", "OMP"):  # NumPy and PyTorch, which are not imported yet, read it
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def pytest_addoption(parser, pluginmanager):
    """Let the options for pytest-xdist, in pyproject.toml, do nothing where it is off or not installed."""
    if not pluginmanager.hasplugin("xdist"):
        for option in ("--numprocesses", "--maxprocesses", "--dist"):
            parser.addoption(option)


collect_ignore = ["user_scripts"]  # scripts, which test_types.py runs
