"""Stand-ins for what lies outside kgtts: Kaggle and time, both in memory."""
