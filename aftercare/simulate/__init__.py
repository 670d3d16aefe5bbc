"""`aftercare simulate`: a campaign on a fast clock, against phones that answer, are silent, opt out or are dead, with outages; every message judged."""
