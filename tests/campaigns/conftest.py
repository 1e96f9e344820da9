"""Campaigns are scripts: pytest collects the test of them alone, and no examples in docstrings."""

collect_ignore_glob = ["[!t]*.py"]
