"""OpenCompass's own summary, and the runs into the store."""

summarizer = {"type": "rope_eval.hosts.opencompass.summary.StoreSummarizer"}
