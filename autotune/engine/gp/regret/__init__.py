"""What is left to gain: the distribution of the simple regret of one goal, and of a front of several.

Owns the assessment that a study stops by. Imports the models, the candidates and the acquisition functions.
"""
