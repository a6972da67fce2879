"""`python -m deployctl`."""

from deployctl.cli.app import main

if __name__ == "__main__":
    main()
