"""The verb `profiles`, and how profiles are shown."""
