"""Configuration of runs and tasks, what goes together, presets/ of runs, tables and searches. No torch."""
