def pytest_addoption(parser, pluginmanager):
    """Let the options for pytest-xdist, in pyproject.toml, do nothing where it is off or not installed."""
    if not pluginmanager.hasplugin("xdist"):
        for option in ("--numprocesses", "--maxprocesses", "--dist"):
            parser.addoption(option)


collect_ignore = ["user_scripts"]  # scripts, which test_types.py runs
