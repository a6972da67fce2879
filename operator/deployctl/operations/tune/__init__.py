"""Begins a study, resumes one, and ends it with a recommendation."""
