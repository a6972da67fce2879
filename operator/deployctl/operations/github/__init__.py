"""What a pipeline does on GitHub: a comment, the gate's baseline, a pull request with settings.

`api` asks GitHub, and nothing else does.
"""
