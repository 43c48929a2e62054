"""Every figure of speed, each as a ratio to a floor that is measured in the same run: ``python -m tests.bench``."""
