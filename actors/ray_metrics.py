"""The thin Ray edge of the metrics: each process keeps the ones that it has set, and Ray exports them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge, Histogram

from actors.metrics import Kind, Metric, Sample

_OPENED: dict[Metric, Counter | Gauge | Histogram] = {}
_SHOWN: dict[tuple[Metric, tuple[str, ...]], Sample] = {}
"""Gauges by series. Ray forgets a gauge that was not set within two of its reports, and some change once a cycle."""


def record(samples: Iterable[Sample]) -> None:
    """Count and show samples, and show again what earlier ones showed.

    A gauge that has lost its value is shown no more; one that never had any never was.
    """
    for sample in samples:
        series = (sample.metric, sample.tags)
        if sample.metric.kind is not Kind.GAUGE:
            _put(sample)
        elif math.isnan(sample.value):
            _SHOWN.pop(series, None)
        else:
            _SHOWN[series] = sample
    for shown in list(_SHOWN.values()):
        _put(shown)


def _put(sample: Sample) -> None:
    opened, tags = _opened(sample.metric), dict(zip(sample.metric.tags, sample.tags, strict=True))
    if isinstance(opened, Counter):
        opened.inc(sample.value, tags)
    elif isinstance(opened, Gauge):
        opened.set(sample.value, tags)
    else:
        opened.observe(sample.value, tags)


def _opened(metric: Metric) -> Counter | Gauge | Histogram:
    # Ray wants one object for each metric of a process, for as long as the process lives.
    if metric not in _OPENED:
        _OPENED[metric] = _open(metric)
    return _OPENED[metric]


def _open(metric: Metric) -> Counter | Gauge | Histogram:
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(metric.name, metric.help, boundaries=list(metric.bounds), tag_keys=metric.tags)
    return (Counter if metric.kind is Kind.COUNTER else Gauge)(metric.name, metric.help, metric.tags)
