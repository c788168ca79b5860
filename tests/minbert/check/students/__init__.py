"""Files of students, by part: a template with places, right ways to fill each, and wrong ones.

`RIGHT[place][0]` is the plain way. `WRONG` has for a mistake of the catalogue the places that make it, and
`OTHERWISE` more ways to make one; `UNKNOWN` has mistakes that no catalogue has, with the first stage that
shows them.
"""
