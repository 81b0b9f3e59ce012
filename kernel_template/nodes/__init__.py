"""Training on several machines at once; not sent to Kaggle, which lends one."""
