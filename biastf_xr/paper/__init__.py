"""The protocol of the BiaSTF paper: its data sets, tables and figures."""
