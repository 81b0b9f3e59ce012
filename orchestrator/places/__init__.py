"""Where sessions run besides Kaggle, and how their results are read there."""
