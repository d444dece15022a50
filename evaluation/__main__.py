"""`python -m evaluation`."""

from .evaluate import main

main()
