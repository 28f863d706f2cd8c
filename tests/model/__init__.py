"""Random plans and random lives, told by the plan interpreter and by a small model of the language.

The model is written from the page of the plan language and shares no line with the interpreter;
hypothesis leads both through the same life, and after every step they must agree.
"""
