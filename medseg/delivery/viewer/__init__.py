"""A page to look at a scan and the structures in it: one file that opens in a browser, without a network."""
