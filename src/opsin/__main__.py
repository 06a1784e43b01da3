"""`python -m opsin`."""

from opsin.cli.main import main

main()
