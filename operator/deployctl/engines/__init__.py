"""What an engine needs, as pure knowledge: image, argv, phases, failures, metric names."""
