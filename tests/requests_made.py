"""Requests made by hypothesis."""

from typing import Any

from hypothesis import strategies as st

import tensorpress as tp
from tensorpress.compression import Request
from tensorpress.decompose import RankRule
from tensorpress.request.request import Calibration

shares = st.floats(0, 1, exclude_min=True)
ratios = st.none() | st.floats(1, 1e6) | st.integers(1, 99)
times = st.none() | st.floats(1e-9, 1e6)
some_counts = st.none() | st.integers(1, 64)
seeds = st.integers(0, 2**63 - 1)
names = st.lists(st.text(min_size=1), max_size=3).map(tuple)
a_name = st.text(min_size=1).filter(lambda name: "," not in name and name == name.strip())
methods = st.lists(a_name, max_size=3).map(tuple)
rules: st.SearchStrategy[RankRule] = st.one_of(
    shares.map(tp.Energy),
    shares.map(tp.SingularSum),
    st.floats(0, 1, exclude_max=True).map(tp.RelativeError),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=5).map(tp.Ranks),
    st.just(tp.VBMF()),
)
recoveries = st.builds(
    tp.Recovery,
    allocate=st.booleans(),
    reconstruct=st.booleans(),
    statistics=st.booleans(),
    sweeps=st.integers(0, 9),
    distil_epochs=st.integers(0, 99),
    seed=seeds,
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def budgets(draw: st.DrawFn) -> tp.Budget:
    """Budgets whose runtime counts: those of time alone have one."""
    params, macs, speedup, milliseconds = draw(ratios), draw(ratios), draw(times), draw(times)
    if params is macs is speedup is milliseconds is None:
        macs = 2.0
    if speedup is milliseconds is None:
        return tp.Budget(params, macs)
    runtime = draw(st.sampled_from(["torch", "onnxruntime"]))
    threads, batch = draw(some_counts), draw(some_counts)
    return tp.Budget(params, macs, speedup, milliseconds, runtime, threads, batch)


sayable = st.builds(
    lambda amount, **given: Request(
        **given, **{"budget" if isinstance(amount, tp.Budget) else "rank": amount}
    ),
    rules | budgets(),
    round_to=st.integers(1, 64),
    include=st.none() | st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple),
    exclude=names,
    skip_first=st.booleans(),
    linear=st.booleans(),
    balance=st.booleans(),
    method=st.sampled_from([None, "auto", "ttpwt", "tucker2", "cp"]),
    methods=st.none() | methods.filter(bool),
)
"""What options can ask for."""
requests = st.builds(
    Request,
    rank=st.none() | rules | st.dictionaries(st.text(min_size=1), rules, min_size=1, max_size=3),
    budget=st.none() | budgets(),
    round_to=st.integers(1, 64),
    include=st.none() | names,
    exclude=names,
    skip_first=st.booleans(),
    linear=st.booleans(),
    balance=st.booleans(),
    method=st.none() | st.text(min_size=1),
    methods=st.none() | methods,
    seed=st.none() | seeds,
    calibration=st.none() | st.builds(Calibration, st.integers(16, 10**6), recoveries),
    settings=st.dictionaries(st.text(), st.booleans() | st.text() | st.integers(), max_size=2),
)
