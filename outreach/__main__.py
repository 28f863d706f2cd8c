"""`python -m outreach` is the `outreach` command."""

import sys

from outreach.cli import main

sys.exit(main())
