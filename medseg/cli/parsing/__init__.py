"""Parse command lines: options made from dataclasses, their help, and hints on them."""
