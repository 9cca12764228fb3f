"""`python -m tinygrad_rnn` is the command line."""

from tinygrad_rnn.cli import main

raise SystemExit(main())
