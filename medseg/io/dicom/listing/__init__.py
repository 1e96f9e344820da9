"""The series of a folder or zip, and the choice of one."""
