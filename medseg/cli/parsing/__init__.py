"""How options are typed: signatures made from dataclasses, and hints."""
