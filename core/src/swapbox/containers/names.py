"""Ids and names of containers."""

from __future__ import annotations

import os

_ADJECTIVES = """
    able agile airy amber ample apt ardent artful avid balmy benign bold boring brave breezy brief bright brisk
    calm candid cheery civil clean clear clever cosmic cosy crisp curious daring deft dapper dreamy eager early
    earnest easy epic fair famous festive fluent fond frank free fresh frosty gentle giddy glad golden grand
    happy hardy honest humble jaunty jolly keen kind lively loyal lucid lucky mellow merry mighty mild modest
    neat nimble noble patient placid plucky polite proud quick quiet quirky rapid ready rustic serene sharp
    silent simple sleek sober solid sparkling spry steady sturdy subtle sunny swift tender thrifty tidy tranquil
    upbeat valiant vivid warm wise witty zealous zesty
"""
_SURNAMES = """
    abel allen ampere antonelli babbage backus banach bardeen bartik bell bohr boltzmann boole borg bose
    bourbaki brahe burnell cantor carson cerf church clarke codd cori coulomb crick curie dalton darwin dijkstra
    dirac easley edison einstein engelbart erdos euclid euler fano faraday fermat fermi feynman floyd franklin
    galileo galois gauss germain goedel goldberg goodall gosling hamilton hamming hawking heisenberg hermann
    hertz hilbert hoare hodgkin holberton hooke hopper hypatia jang jennings johnson joliot kalam kare keller
    kepler kernighan khorana kilby knuth kovalevskaya lamarr lamport landau laplace leavitt leibniz liskov
    lovelace maxwell mayer mcclintock mccarthy meitner mendel mirzakhani morse moser napier nash neumann newton
    nobel noether noyce pascal pasteur pauli payne perlman planck ptolemy raman ramanujan riemann ritchie rubin
    sammet shannon shockley sinoussi snyder stallman swartz tesla thompson torvalds turing volta wescoff wiles
    wilson wing wozniak wright yalow yonath zuse
"""


def new_id() -> str:
    """Return a random id of 64 hex digits whose first twelve, the default host name, are never all decimal."""
    while (text := os.urandom(32).hex())[:12].isdecimal():
        pass
    return text


def new_name(retry: int = 0) -> str:
    """Return a random ``adjective_surname``; with ``retry`` above 0, after one was taken, a digit follows it."""
    name = f"{_pick(_ADJECTIVES)}_{_pick(_SURNAMES)}"
    if name == "boring_wozniak":  # Docker never gives it either.
        return new_name(retry)
    return f"{name}{os.urandom(1)[0] % 10}" if retry else name


def _pick(words: str) -> str:
    choices = words.split()
    return choices[int.from_bytes(os.urandom(4)) % len(choices)]
