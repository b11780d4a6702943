"""Scores by a vision-language model: the interface of a judge, the judge behind an endpoint, rubrics, and the metric that uses them."""
