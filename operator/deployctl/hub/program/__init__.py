"""The program that downloads a checkpoint where its engine will look for it.

It imports nothing else of deployctl and little beyond the standard library: its text is sent to
the Python of the engine, here or in a container of the engine's image, where there is no deployctl.
"""
