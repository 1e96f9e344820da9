"""Networks by name, their layers, and the device that they run on."""
