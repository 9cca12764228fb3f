"""The reference is whole: every public name is found, says what it is and where it stands, and shows an example."""

import doctest
import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tg

MODULES = ["", ".bptt", ".draw", ".experiments", ".nn", ".nn.init", ".optim", ".program"]


def public(module):
    """The names in `__all__`, or else those of what is defined in the module."""
    own = [name for name, x in vars(module).items() if getattr(x, "__module__", None) == module.__name__]
    return getattr(module, "__all__", [name for name in own if name[0] != "_"])


NAMES = [(f"tinygrad_rnn{m}", name) for m in MODULES for name in public(importlib.import_module(f"tinygrad_rnn{m}"))]


@pytest.mark.parametrize("module, name", NAMES)
def test_a_public_name_is_found_and_described_with_an_example(module, name, tmp_path, monkeypatch):
    there = importlib.import_module(module)
    thing = getattr(there, name)
    assert name in dir(there) and name in vars(there)
    if not callable(thing):
        assert not inspect.ismodule(thing) or thing.__doc__
        return
    assert inspect.getsource(thing) and (inspect.isclass(thing) or inspect.signature(thing))
    assert "\n" in thing.__doc__ and thing.__doc__ != type(thing).__doc__ and ">>> " in thing.__doc__
    monkeypatch.chdir(tmp_path)
    told = []
    for example in doctest.DocTestFinder().find(thing, name, module=False, globs={"np": np, "tg": tg}):
        doctest.DocTestRunner().run(example, out=told.append)
    assert not told, "".join(told)


def test_all_names_are_there_for_whoever_lists_them():
    """In a process of its own, in which nothing has asked for one of them before."""
    code = (
        "import tinygrad_rnn as tg; names = tg.__all__; assert set(names) <= set(vars(tg)) and sorted(names) == dir(tg)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_first_gradient_waits_for_nothing_that_it_does_not_need():
    code = "import sys, tinygrad_rnn as tg; x = tg.Tensor(1.0, requires_grad=True); (x * x).backward(); "
    code += "print(*[name for name in sys.modules if name in ('graphviz', 'tinygrad_rnn.nn', 'tinygrad_rnn.program')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_pdoc_has_a_page_for_each_module_and_a_text_for_each_name():
    """In a process of its own, in which nothing has asked for a lazy name before."""
    pytest.importorskip("pdoc")
    code = """
import pdoc.doc, tinygrad_rnn

def pages(module):
    return [module, *(page for inner in module.submodules for page in pages(inner))]

found = {page.modulename: page for page in pages(pdoc.doc.Module(tinygrad_rnn))}
wanted = "bptt draw experiments nn nn.cells nn.init nn.recurrent optim program".split()
assert {f"tinygrad_rnn.{name}" for name in wanted} <= set(found), set(found)
listed = [x for page in found.values() for x in (page, *page.members.values()) if x.kind != "variable"]
blank = [x.fullname for x in listed if x.name[:1] != "_" and not x.docstring]
assert blank == [] and len(listed) > 200, blank
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_language_server_finds_every_name():
    jedi = pytest.importorskip("jedi")
    found = {name.name for name in jedi.Script("import tinygrad_rnn as tg\ntg.").complete(2, 3)}
    assert found >= set(tg.__all__)
    assert "gradients" in jedi.Script("import tinygrad_rnn as tg\ntg.compile").help(2, 8)[0].docstring()
