"""What the model sees of a minute, and what it shall foretell: features, labels, scaler."""
