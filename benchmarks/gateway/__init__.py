"""What the gateway of a host costs."""
