"""How well complications fit findings: shares, base rates, and what the tree of symptoms says of a finding."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from care.knowledge import Knowledge
from care.knowledge.model import Complication, Frequency, Sign

_SHARE = {Sign.TYPICAL: 0.7, Sign.POSSIBLE: 0.25}
"""How many of those with a complication show a typical or a possible sign: set by judgement, to rank and not to predict."""
_VAGUE_SHARE = 0.15
"""A patient with swelling of one leg may say no more than "swelling"."""
_PRIOR = {Frequency.COMMON: 0.05, Frequency.UNCOMMON: 0.015, Frequency.RARE: 0.004}
_OUT_OF_TIME, _OTHER_PROTOCOL = 0.3, 0.1
_CALM = 0.5
"""Patients without a complication show a symptom about half as often as complications have it among their signs."""
_EXPECTED_RATE = 0.6
"""Of patients in the days in which a protocol expects a symptom, how many have it without any complication."""


@dataclass(frozen=True)
class Fit:
    """A complication's weight against "nothing new" (1.0), and the findings that it explains with the sign each is."""

    weight: float
    explained: dict[str, Sign | None]


@dataclass(frozen=True)
class Scorer:
    """Scores the complications of `known`. Weights of one call are comparable with each other only."""

    known: Knowledge

    @cached_property
    def _chains(self) -> dict[str, tuple[str, ...]]:
        """Each symptom with those it is a kind of, the nearest first."""
        chains = {}
        for symptom in self.known.symptoms:
            chain = [symptom]
            while (broader := self.known.symptoms[chain[-1]].broader) is not None and broader not in chain:
                chain.append(broader)
            chains[symptom] = tuple(chain)
        return chains

    @cached_property
    def _rates(self) -> dict[str, float]:
        """How unspecific each symptom is: the share of complications that it, or a kind of it, is a sign of (with one added to each side)."""
        counts = dict.fromkeys(self.known.symptoms, 0)
        for complication in self.known.complications.values():
            for symptom in {each for sign in complication.symptoms for each in self._chains[sign]}:
                counts[symptom] += 1
        total = len(self.known.complications)
        return {symptom: _CALM * (1 + count) / (2 + total) for symptom, count in counts.items()}

    def broader(self, symptom: str) -> tuple[str, ...]:
        """`symptom` and those it is a kind of, the nearest first."""
        return self._chains[symptom]

    def told_apart(self, findings: Collection[str]) -> list[str]:
        """The known findings in order of id, without those that another of them says more exactly."""
        known = {each for each in findings if each in self._chains}
        said_better = {each for finding in known for each in self._chains[finding][1:]}
        return sorted(known - said_better)

    def rate(self, symptom: str, protocol: str | None, day: int | None) -> float:
        """How often patients without a complication have `symptom`."""
        return max(self._rates[symptom], self._expected_rate(symptom, protocol, day))

    def _expected_rate(self, symptom: str, protocol: str | None, day: int | None) -> float:
        return _EXPECTED_RATE if self.expected(symptom, protocol, day) else 0.0

    def expected(self, symptom: str, protocol: str | None, day: int | None) -> bool:
        """Whether the protocol expects `symptom` on `day` as part of recovery."""
        plan = self.known.protocols.get(protocol or "")
        window = plan.expected.get(symptom) if plan else None
        return window is not None and (day is None or window[0] <= day <= window[-1])

    def sign_of(self, complication: Complication, symptom: str) -> tuple[float, str | None, Sign | None]:
        """The share of the complication's patients who say `symptom`, the listed sign it counts as, and how that sign is weighed.

        The nearest of the symptom and those broader counts; failing that, a listed sign that is a kind of `symptom`.
        """
        for each in self._chains[symptom]:
            if each in complication.symptoms:
                return _SHARE[complication.symptoms[each]], each, complication.symptoms[each]
        narrower = next((each for each in complication.symptoms if symptom in self._chains[each]), None)
        return (_VAGUE_SHARE, narrower, None) if narrower else (0.0, None, None)

    def chance(self, complication: Complication | None, symptom: str, protocol: str | None, day: int | None) -> float:
        """P(symptom | complication); without a complication, its rate."""
        rate = self.rate(symptom, protocol, day)
        return min(1.0, rate * self._ratio(complication, symptom, protocol, day)[0]) if complication else rate

    def _ratio(self, complication: Complication, symptom: str, protocol: str | None, day: int | None) -> tuple[float, str | None, Sign | None]:
        """P(symptom | complication) / P(symptom | nothing new), with the sign it counts as: (1 - (1 - rate)(1 - share)) / rate, a noisy "or".

        A symptom that counts as a broader sign has that sign's rate: a rare kind of headache speaks no more for what causes any headache.
        """
        share, sign, strength = self.sign_of(complication, symptom)
        counted = sign if sign is not None and sign in self._chains[symptom] else symptom
        rate = max(self.rate(counted, protocol, day), self._expected_rate(symptom, protocol, day))
        return (1 - (1 - rate) * (1 - share)) / rate, sign, strength

    def fit(self, complication: Complication, findings: list[str], denied: Collection[str], protocol: str | None, day: int | None) -> Fit:
        """The complication's weight: prior for the protocol and day, times P(f | complication) / P(f | nothing new) for each finding f.

        Each sign counts once, by the finding that speaks most for it. A denied symptom that would be a sign takes its share away.
        """
        best: dict[str, tuple[float, str, Sign | None]] = {}
        for finding in findings:
            ratio, sign, strength = self._ratio(complication, finding, protocol, day)
            if sign is not None and (sign not in best or ratio > best[sign][0]):
                best[sign] = (ratio, finding, strength)
        weight = _PRIOR[complication.frequency] * _place(complication, protocol, day)
        for ratio, _, _ in best.values():
            weight *= ratio
        absent = frozenset(denied)
        for listed, sign in complication.symptoms.items():
            if listed not in best and absent.intersection(self._chains[listed]):
                weight *= 1 - _SHARE[sign]
        return Fit(weight, {finding: strength for _, finding, strength in best.values()})


def _place(complication: Complication, protocol: str | None, day: int | None) -> float:
    """How far the protocol and the day speak for the complication."""
    if protocol is None or not complication.protocols:
        return 1.0
    if protocol not in complication.protocols:
        return _OTHER_PROTOCOL
    first, last = complication.protocols[protocol]
    return 1.0 if day is None or first <= day <= last else _OUT_OF_TIME
