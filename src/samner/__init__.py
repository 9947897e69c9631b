"""samner: select and merge per-domain NER experts into one recogniser for a domain nobody labelled."""
