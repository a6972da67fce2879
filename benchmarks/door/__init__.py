"""What the door costs: CPU and time to the first token, with it and without, in turns."""
