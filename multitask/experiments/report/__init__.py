"""Reports: the HTML page of a run, an ablation or a search."""
