"""The strategy over history: two engines that must agree, what came of it, and a report."""
