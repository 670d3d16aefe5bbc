"""The command line, the supervision of processes, and which adapter fills which port."""
