"""The rows of the table, one kind a file. Each gets a `Bench` and fills a `Row`."""
