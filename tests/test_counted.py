from tensorpress.counted import counted


def test_one_is_one() -> None:
    assert [counted(n, "nodes") for n in (0, 1, 2, 1200)] == [
        *("0 nodes", "1 node", "2 nodes", "1,200 nodes")
    ]
