"""One decision for a report: rules, encoder and model each vote, and the rules are never undercut."""
