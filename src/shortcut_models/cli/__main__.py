"""`python -m shortcut_models.cli` is `shortcut`."""

import sys

from . import main

sys.exit(main())
