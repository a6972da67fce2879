"""The planner against real vLLM start-ups, beside the rules that others use."""
