"""The only place that knows GitHub: events, settings of an action, workflow commands, the stages as actions run them."""
