"""What a sentence asks of a video editor: words, looks, places, amounts. Plain Python; no model is needed.

sentence → `tokens` → `spelling` → `matching` → `clauses` → **`Request`**: looks in their order, each with amount and place, or what stands
in the way. `abilities` says which of them a model can do. Everything that a sentence says is read or named: `reading.read_instruction`
never leaves a word out.
"""
