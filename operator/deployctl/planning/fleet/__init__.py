"""Several services planned together for the cards of one host: which is where, with what share.

`need` says what one service takes of a card at a share of its memory; `pack` finds cards for all;
`divide` hands out what is left; `order` says in which order they start; `make` joins these. Pure.
"""
