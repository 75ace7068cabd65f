"""Check that every asset has its sidecar, and write those that are missing: see `comfyvn.registry.audit`."""

from comfyvn.registry.audit import main

if __name__ == "__main__":
    main()
