"""The report of a run as one page that needs no network: pictures, drawings, and the texts of report.json."""
