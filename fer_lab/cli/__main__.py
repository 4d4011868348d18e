"""`python -m fer_lab.cli` is the console script `fer-lab`."""

import sys

from fer_lab.cli import main

sys.exit(main())
