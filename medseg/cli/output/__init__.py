"""What every verb prints and records in one way."""
