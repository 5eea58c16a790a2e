"""Facts about the datasets: sources, checksums, licences, label rules, splits."""
