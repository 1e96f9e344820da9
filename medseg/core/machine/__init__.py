"""The machine that this process runs on: cores, memory, processes and threads, locks, signals."""
