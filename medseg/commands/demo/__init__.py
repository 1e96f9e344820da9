"""`medseg demo`: the whole way once, on generated scans."""
