"""`python -m v2v` is `v2v`."""

import sys

from v2v.cli.main import main

sys.exit(main())
