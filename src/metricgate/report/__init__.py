"""The report: verdict, numbers and context as one JSON document, and everything that people see, rendered from it."""
