"""``python -m hallucade``."""

from hallucade.cli import main

main()
