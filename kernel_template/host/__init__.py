"""What runs inside the training process: Coqui's Trainer with hooks around it."""
