"""OpenCompass's own summary, and the runs into the store."""

summarizer = {"type": "rope_eval.harness.opencompass_summary.StoreSummarizer"}
