"""From measured values to what people read: report.json, summary, model card, page and progress bars."""
