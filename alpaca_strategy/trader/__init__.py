"""The live trader: follows the tape, decides on time, and never doubles or loses an order."""
