"""What turns a context into a plan, shows it or applies it.

`base.py` is the contract of a contextualizer (with `options.py`, how it reads the context, and `actions/`,
what it may ask for); `plan.py` orders, `apply.py` does, `render_text.py` and `render_json.py` show. Imports
`userdata.context`, `store` and `errors`.
"""
