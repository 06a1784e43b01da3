"""The verbs as functions, one a file. They wire rooms together and hold no logic of their own."""
