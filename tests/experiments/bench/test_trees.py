import pytest

from experiments.bench import trees


def test_every_tree_is_built_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    trees.main(["--classes", "37"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0].split()[0] for line in lines] == [
        "huffman_tree",
        "balanced_tree",
        "class_tree",
        "clustered_tree",
    ]
    # A balanced tree of 37 leaves is 6 deep, and no tree of them less.
    depths = [int(line.split()[-1]) for line in lines]
    assert depths[1] == 6
    assert min(depths) == 6
