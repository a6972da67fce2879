"""What watches services: files for what runs already, a Compose project of our own, test alerts."""
