"""``python -m comfyvn``: the same as the command ``comfyvn``."""

from comfyvn.cli import main

if __name__ == "__main__":
    main()
