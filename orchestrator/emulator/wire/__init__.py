"""The emulator's HTTP side: Kaggle's API, its storage and its logs."""
