"""File formats of images: one module a format, and the table that lists them."""
