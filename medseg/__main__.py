"""`medseg`, and `python -m medseg`, also under torchrun."""

from medseg.cli.app import main

if __name__ == "__main__":
    main()
