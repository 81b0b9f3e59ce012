"""kgtts: trains a Bangla voice on Kaggle's free GPUs, and follows, continues and collects the run."""

__version__ = "0.1.0"
