"""Student's distribution by its finite sums, which share nothing with scipy (Abramowitz and Stegun, 26.7.3 and 4)."""

import math


def lower_tail(t: float, degrees: int) -> float:
    """P(T < t) for a whole number of degrees of freedom."""
    return (1 + math.copysign(_within(abs(t), degrees), t)) / 2


def _within(t: float, degrees: int) -> float:
    """P(|T| < t)."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    if degrees % 2 == 0:
        return sine * _sum(1.0, cosine, range(1, degrees - 1, 2))
    odd = cosine * _sum(1.0, cosine, range(2, degrees - 1, 2)) if degrees > 1 else 0.0
    return 2 / math.pi * (angle + sine * odd)


def _sum(first: float, cosine: float, numerators: range) -> float:
    """1 + n/(n+1) cos² + n/(n+1) (n+2)/(n+3) cos⁴ + …"""
    total = term = first
    for numerator in numerators:
        term *= numerator / (numerator + 1) * cosine**2
        total += term
    return total
