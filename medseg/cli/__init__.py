"""The command line: how each verb is typed and shown. The verbs themselves are in `medseg.commands`."""
