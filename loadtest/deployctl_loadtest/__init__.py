"""The Locust side: users, arrival schedules, prompts, result writer. Imports no deployctl."""
