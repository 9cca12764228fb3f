"""A command of the command line, run here: its exit status, and what it prints."""

from tinygrad_rnn.cli import main


def ended(capsys, *arguments):
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    return status, out, err
